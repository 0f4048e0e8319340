"""`manage.py setup`: everything the site needs before its first request.

Applies the migrations, creates the superuser `demo` and writes the first
entries. Running it again changes nothing, except the password if one is given.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management import BaseCommand, call_command

from guestbook.models import Entry

ENTRIES = [
    ("Ada", "The first page of a new book. Write on."),
    ("Grace", "I came for the snakes and stayed for the garden."),
    ("Edsger", "Simple, and it works. Thank you."),
]


class Command(BaseCommand):
    """See the module's text."""

    help = "Migrate, create the superuser 'demo' and write the first entries; may be repeated."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it; the password is SITE_DEMO_PASSWORD, or a random one that is printed."""
        call_command("migrate", interactive=False, verbosity=0)
        given = os.environ.get("SITE_DEMO_PASSWORD")
        user, created = get_user_model().objects.get_or_create(
            username="demo", defaults={"is_staff": True, "is_superuser": True, "email": "demo@example.org"}
        )
        if created or given:
            password = given or secrets.token_urlsafe(12)
            user.set_password(password)
            user.save()
            if not given:
                self.stdout.write(f"superuser demo, password {password}")
        if not Entry.objects.exists():
            for name, message in ENTRIES:
                Entry.objects.create(name=name, message=message)
        self.stdout.write(f"ready: {Entry.objects.count()} entries")
