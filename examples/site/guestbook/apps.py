"""The guestbook as a Django application."""

from django.apps import AppConfig


class GuestbookConfig(AppConfig):
    """Name and defaults of the application."""

    name = "guestbook"
    default_auto_field = "django.db.models.BigAutoField"
