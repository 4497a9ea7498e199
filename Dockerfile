FROM python:3.11.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Without it a process keeps the memory that one large file took, see docs/how-to/deploy.md.
ENV MALLOC_TRIM_THRESHOLD_=131072
WORKDIR /app

# pg_dump for backups: Debian's is older than the server of docker-compose.yml.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates gnupg postgresql-common \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install -y --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/*

COPY requirements/ requirements/
# torch brings its own choice of CUDA libraries, which a lock for every platform cannot name.
RUN pip install --no-deps -r requirements/base.lock && pip install -r requirements/torch.lock

COPY manage.py pyproject.toml ./
COPY scoring/ scoring/
COPY workbench/ workbench/
COPY templates/ templates/
COPY docs/ docs/
COPY demo/ demo/

RUN useradd --create-home workbench && mkdir /data && chown workbench /data
USER workbench
VOLUME /data
EXPOSE 8000
CMD ["gunicorn", "workbench.wsgi", "--bind", "0.0.0.0:8000", "--worker-class", "workbench.serving.CollectingWorker", "--threads", "6"]
