"""Celery, and the tasks of its workers."""
