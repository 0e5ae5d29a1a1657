"""The page for people at `/`: one file without outside parts, under a policy that lets nothing else in."""

import base64
import hashlib
import re
from importlib import resources

from aiohttp import web

from image_classifier.contract import Settings

_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def add_routes(router: web.UrlDispatcher, settings: Settings) -> None:
    """Serve the page."""
    text = page(settings)
    headers = {"Content-Security-Policy": policy(text), "X-Content-Type-Options": "nosniff"}

    async def show(request: web.Request) -> web.Response:
        del request
        return web.Response(text=text, content_type="text/html", headers=headers)

    router.add_get("/", show)


def page(settings: Settings) -> str:
    """The page's text, with this server's limits."""
    text = resources.files("image_classifier.serving").joinpath("page.html").read_text(encoding="utf-8")
    values = {"MAX_MIB": settings.max_payload_mb, "TOP_K": settings.top_k}
    for name, value in values.items():
        text = text.replace(f"{{{{{name}}}}}", str(value))
    return text


def policy(text: str) -> str:
    """A Content-Security-Policy that allows the page's own script and style, by their hashes, and its own server."""
    allowed: dict[str, list[str]] = {"script": [], "style": []}
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        allowed[kind].append(f"'sha256-{digest}'")
    return (
        f"default-src 'none'; script-src {' '.join(allowed['script'])}; style-src {' '.join(allowed['style'])}; "
        "img-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
