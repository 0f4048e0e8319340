"""A small Django site in one file: ten rows read through the ORM from SQLite, rendered by a template.

Run as a program it creates the database named by BENCH_DJANGO_DB; imported it is the WSGI application `app`.
"""

import os
import sys
from pathlib import Path

import django
from django.conf import settings

DATABASE = os.environ.get("BENCH_DJANGO_DB") or str(Path(__file__).resolve().parent / "bench.sqlite3")

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        DATABASES={
            # Persistent connections, as the Django manual advises for production.
            "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": DATABASE, "CONN_MAX_AGE": None}
        },
        DEBUG=False,
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[],
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.middleware.common.CommonMiddleware",
        ],
        ROOT_URLCONF=__name__,
        SECRET_KEY="only for the benchmark",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
    )
    # A server that starts this file by path has no module of this name yet, and Django imports the routes by
    # name.
    sys.modules.setdefault("django_app", sys.modules[__name__])
    django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection, models  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.template import engines  # noqa: E402
from django.urls import path  # noqa: E402


class Product(models.Model):
    title = models.CharField(max_length=80)
    price = models.IntegerField()
    stock = models.IntegerField()

    class Meta:
        app_label = "bench"


PAGE = engines["django"].from_string(
    "<!doctype html><title>Products</title><table>"
    "{% for product in products %}<tr><td>{{ product.title }}</td><td>{{ product.price }}</td>"
    "<td>{{ product.stock }}</td></tr>{% endfor %}</table>\n"
)


def products(request):
    rows = Product.objects.filter(stock__gt=0).order_by("price")[:10]
    return HttpResponse(PAGE.render({"products": rows}, request))


urlpatterns = [path("products/", products)]
app = get_wsgi_application()


def create_database() -> None:
    with connection.schema_editor() as editor:
        editor.create_model(Product)
    Product.objects.bulk_create(
        Product(title=f"product {number}", price=number * 7 % 40, stock=number % 3) for number in range(60)
    )


if __name__ == "__main__":
    create_database()
