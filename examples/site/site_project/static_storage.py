"""Addresses of static files below whatever path prefix the site is served at.

Django prefixes STATIC_URL too, but once, before the first request, when it cannot know the prefix yet; unless
FORCE_SCRIPT_NAME repeats it in the settings.
"""

from __future__ import annotations

from urllib.parse import quote

from django.contrib.staticfiles.storage import StaticFilesStorage
from django.urls import get_script_prefix


class PrefixedStorage(StaticFilesStorage):
    """The files of the applications; the address begins with the SCRIPT_NAME of the current request."""

    def url(self, name: str | None) -> str:
        """For example `/site/static/guestbook/style.css`."""
        return f"{get_script_prefix()}static/{quote(name or '')}"
