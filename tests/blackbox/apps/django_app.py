"""A Django site in one file: ORM on SQLite, forms, CSRF, sessions, streaming, uploads. WSGI and ASGI."""

import asyncio
import hashlib
import os

import django
from django.conf import settings

settings.configure(
    DEBUG=False,
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.gzip.GZipMiddleware",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.path.join(os.environ["FOLDER"], "site.db"),
        }
    },
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
        }
    ],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "ERROR"},
    },
)
django.setup()

from django import forms  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import path  # noqa: E402
from django.views.decorators.csrf import csrf_exempt  # noqa: E402

call_command("migrate", verbosity=0)
PAGE = engines["django"].from_string("<form method=post>{% csrf_token %}{{ form }}</form>")


class UserForm(forms.Form):
    username = forms.CharField(max_length=20)
    email = forms.EmailField()


def user_form(request):
    form = UserForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        User.objects.create(username=form.cleaned_data["username"], email=form.cleaned_data["email"])
        return HttpResponseRedirect("/users")
    status = 200 if request.method == "GET" else 422
    return HttpResponse(PAGE.render({"form": form}, request), status=status)


def users(request):
    return JsonResponse({"users": list(User.objects.order_by("id").values_list("username", "email"))})


async def users_async(request):
    return JsonResponse({"users": [user.username async for user in User.objects.order_by("id")]})


def count(request):
    request.session["count"] = request.session.get("count", 0) + 1
    return JsonResponse({"count": request.session["count"]})


def stream(request):
    if hasattr(request, "scope"):

        async def rows():
            for number in range(1000):
                yield f"row {number}\n"
                if number % 100 == 0:
                    await asyncio.sleep(0)

        return StreamingHttpResponse(rows(), content_type="text/plain")
    return StreamingHttpResponse((f"row {number}\n" for number in range(1000)), content_type="text/plain")


@csrf_exempt
def upload(request):
    """Above FILE_UPLOAD_MAX_MEMORY_SIZE (2.5 MB), Django spools to a temporary file."""
    file, digest = request.FILES["file"], hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    return JsonResponse(
        {
            "kind": type(file).__name__,
            "size": file.size,
            "sha256": digest.hexdigest(),
            "note": request.POST["note"],
        }
    )


def crash(request):
    raise RuntimeError("django crash")


def meta(request):
    return JsonResponse(
        {
            "host": request.get_host(),
            "secure": request.is_secure(),
            "path": request.path,
            "query": request.GET.get("q"),
            "address": request.META["REMOTE_ADDR"],
        }
    )


urlpatterns = [
    path("form", user_form),
    path("users", users),
    path("users-async", users_async),
    path("count", count),
    path("stream", stream),
    path("upload", upload),
    path("crash", crash),
    path("meta/<path:rest>", lambda request, rest: meta(request)),
]
wsgi = get_wsgi_application()
asgi = get_asgi_application()
