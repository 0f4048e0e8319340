"""The guestbook's pages: the list, one entry, a new entry."""

from __future__ import annotations

from django.contrib import messages
from django.db.models import QuerySet
from django.forms import BaseModelForm
from django.http import HttpResponse
from django.views.generic import CreateView, DetailView, ListView

from guestbook.forms import EntryForm
from guestbook.models import Entry


class EntryList(ListView):
    """The visible entries, ten on a page."""

    paginate_by = 10

    def get_queryset(self) -> QuerySet[Entry]:
        """Leave out what a moderator has hidden."""
        return Entry.objects.filter(hidden=False)


class EntryDetail(DetailView):
    """One visible entry; 404 for a hidden one."""

    def get_queryset(self) -> QuerySet[Entry]:
        """Leave out what a moderator has hidden."""
        return Entry.objects.filter(hidden=False)


class EntryCreate(CreateView):
    """The form; after a good POST the visitor is sent to the new entry."""

    model = Entry
    form_class = EntryForm

    def form_valid(self, form: BaseModelForm) -> HttpResponse:
        """Say thanks on the next page."""
        messages.success(self.request, "Thank you for your entry.")
        return super().form_valid(form)
