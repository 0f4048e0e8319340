"""The form a visitor fills in."""

from django import forms

from guestbook.models import Entry


class EntryForm(forms.ModelForm):
    """A new entry: name and message."""

    class Meta:
        """Only what a visitor may set."""

        model = Entry
        fields = ["name", "message"]

    def clean_message(self) -> str:
        """Refuse the links that fill guestbooks everywhere."""
        message = self.cleaned_data["message"]
        if message.count("http://") + message.count("https://") > 2:
            raise forms.ValidationError("At most two links, please.")
        return message
