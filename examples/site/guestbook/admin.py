"""The guestbook in the admin, where a moderator hides entries."""

from django.contrib import admin

from guestbook.models import Entry


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    """A list one can search, filter and hide from."""

    list_display = ["name", "message", "written_at", "hidden"]
    list_editable = ["hidden"]
    list_filter = ["hidden", "written_at"]
    search_fields = ["name", "message"]
