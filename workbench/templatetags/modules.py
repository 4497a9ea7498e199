"""ES modules of a page."""

from django import template
from django.templatetags.static import static
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from workbench.static_files import imported_by

register = template.Library()


@register.simple_tag
def preload_imports(module: str) -> SafeString:
    """Links to all modules of a page: a browser fetches them at once, and not one after the other."""
    urls = [(static(name),) for name in imported_by(module)]
    return format_html_join("\n", '<link rel="modulepreload" href="{}">', urls)
