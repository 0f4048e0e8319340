"""Django in one file (WSGI `app`, ASGI `asgi`) below a prefix: the same facts, `reverse`, a redirect."""

import plain
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponseNotFound, HttpResponseRedirect, JsonResponse
from django.urls import path, re_path, reverse
from django.views.decorators.csrf import csrf_exempt

if not settings.configured:
    settings.configure(SECRET_KEY="only for tests", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], USE_TZ=True)


@csrf_exempt
def page(request, rest=""):
    root = request.path[: len(request.path) - len(request.path_info)]
    found = plain.facts(
        root, request.path_info, request.META.get("QUERY_STRING", ""), request.get_host(), request.body
    )
    return JsonResponse({**found, "url": reverse("page", args=[rest]), "framework": "django"})


def away(_request):
    return HttpResponseRedirect(reverse("page", args=["arrived"]))


def missing(_request):
    return HttpResponseNotFound("django has no such page")


urlpatterns = [path("away", away), path("missing", missing), re_path(r"^(?P<rest>.*)$", page, name="page")]
app = get_wsgi_application()
asgi = get_asgi_application()
