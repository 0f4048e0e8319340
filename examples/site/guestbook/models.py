"""What visitors have written."""

from django.db import models
from django.urls import reverse


class Entry(models.Model):
    """One message in the guestbook; `hidden` is set by a moderator in the admin."""

    name = models.CharField(max_length=60)
    message = models.TextField(max_length=1000)
    written_at = models.DateTimeField(auto_now_add=True, db_index=True)
    hidden = models.BooleanField(default=False)

    class Meta:
        """Newest first."""

        ordering = ["-written_at", "-id"]
        verbose_name_plural = "entries"

    def __str__(self) -> str:
        return f"{self.name}: {self.message[:40]}"

    def get_absolute_url(self) -> str:
        """The address of this entry's own page."""
        return reverse("entry", args=[self.pk])
