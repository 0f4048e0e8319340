"""Settings of the guestbook site.

Read from the environment: SITE_DATA (folder of the database and the secret key,
default `data` beside manage.py), SITE_SECRET_KEY, SITE_ALLOWED_HOSTS (comma
separated) and SITE_DEBUG=1.
"""

from __future__ import annotations

import os
from pathlib import Path

from site_project.secret_key import load_or_create

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("SITE_DATA") or os.environ.get("SERPENTRY_DATA") or BASE_DIR / "data")
DATA_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = os.environ.get("SITE_SECRET_KEY") or load_or_create(DATA_DIR / "secret_key")
DEBUG = os.environ.get("SITE_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("SITE_ALLOWED_HOSTS", "127.0.0.1,.localhost,[::1]").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "guestbook",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "site_project.urls"
WSGI_APPLICATION = "site_project.wsgi.application"
ASGI_APPLICATION = "site_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA_DIR / "site.sqlite3",
        # Several workers write: take the write lock at the start and wait for it, instead of failing late.
        "OPTIONS": {"timeout": 20, "transaction_mode": "IMMEDIATE"},
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"

STATIC_URL = "static/"
# Correct below any path prefix; WhiteNoise sees paths without the prefix.
STORAGES = {"staticfiles": {"BACKEND": "site_project.static_storage.PrefixedStorage"}}
WHITENOISE_STATIC_PREFIX = "/static/"
# WhiteNoise serves each application's own static folder: no collectstatic step before the first start.
WHITENOISE_USE_FINDERS = True
