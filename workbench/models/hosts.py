from django.db import models


class AllowedHost(models.Model):
    """A host that workers may send requests to. `name`: the host in lower case, and its port unless 443."""

    name = models.CharField(max_length=260, unique=True)
    added_by = models.ForeignKey("workbench.User", null=True, on_delete=models.SET_NULL)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
