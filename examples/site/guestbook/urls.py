"""Addresses of the guestbook."""

from django.urls import path

from guestbook import views

urlpatterns = [
    path("", views.EntryList.as_view(), name="entries"),
    path("new/", views.EntryCreate.as_view(), name="new-entry"),
    path("entry/<int:pk>/", views.EntryDetail.as_view(), name="entry"),
]
