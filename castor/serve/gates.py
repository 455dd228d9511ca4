"""Who may come in: names of this machine, pages of known origin, callers with a key.

These guard a server on somebody's own machine against web pages that they visit. They do not
replace TLS, and a key is no account: everybody who has one may do everything.
"""

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

from castor.serve import refusal
from castor.serve.paths import Place, fields_of
from castor.serve.refusal import Refusal
from castor.serve.service import Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/health", "/openapi.json")
ALLOWED_HEADERS = (
    "content-type, x-goog-api-key, x-goog-api-client, x-goog-upload-command, "
    "x-goog-upload-file-name, x-goog-upload-header-content-length, "
    "x-goog-upload-header-content-type, x-goog-upload-offset, x-goog-upload-protocol, "
    "x-server-timeout, authorization, api-revision"
)
EXPOSED_HEADERS = (
    "x-goog-upload-url, x-goog-upload-status, x-goog-upload-size-received, retry-after"
)
SECURE = {  # unless the response says otherwise itself
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}


def check(
    *, method: str, place: Place, query: bytes, headers: Mapping[str, str], settings: Settings
) -> None:
    """Let a request pass.

    Raises:
        Refusal: it is addressed to a name that is not ours, comes from a strange page, or has no
            valid key where one is needed.
    """
    check_host(headers.get("host", ""), settings)
    check_page(method, headers, settings)
    if settings.keys and place.api and place.path not in OPEN and not _uploads(place, query):
        check_key(query, headers, settings)


def check_host(host: str, settings: Settings) -> None:
    """Refuse names that an attacker's DNS may have pointed at this machine.

    Addresses in digits are fine: a page that was loaded from a name cannot forge those.
    """
    name = _host_name(host)
    known = (*LOOPBACK, settings.host.lower(), *(h.lower() for h in settings.allow_hosts))
    if "*" in settings.allow_hosts or name in known or name.endswith(".localhost"):
        return
    if _is_address(name):
        return
    raise Refusal(403, f"The host {name!r} is not served here; start with --allow-host {name}")


def check_page(method: str, headers: Mapping[str, str], settings: Settings) -> None:
    """Refuse what a page from elsewhere sends unasked; only browsers say where a page is from."""
    if method in ("GET", "HEAD", "OPTIONS") or headers.get("sec-fetch-site") != "cross-site":
        return
    if allowed_origin(headers.get("origin", ""), settings) is None:
        raise Refusal(403, f"Pages of {headers.get('origin', 'elsewhere')} may not call this API")


def check_key(query: bytes, headers: Mapping[str, str], settings: Settings) -> None:
    """Find the key in its header, in the query or after "Bearer" or "Token"."""
    asked = fields_of(query)
    given = headers.get("x-goog-api-key") or asked.get("key") or asked.get("access_token")
    scheme, _, token = headers.get("authorization", "").partition(" ")
    given = given or (token.strip() if scheme.lower() in ("bearer", "token") else "")
    if not given:
        raise refusal.no_key()
    same = [hmac.compare_digest(given.encode(), key.encode()) for key in settings.keys]
    if not any(same):
        raise refusal.bad_key()


def allowed_origin(origin: str, settings: Settings) -> str | None:
    """What to answer in Access-Control-Allow-Origin, None if the origin may not call."""
    if not origin:
        return None
    if "*" in settings.origins:
        return "*"
    return origin if origin in settings.origins else None


def cross_origin_headers(origin: str, settings: Settings) -> dict[str, str]:
    """Headers that let a page of this origin read the response; none if it may not."""
    allowed = allowed_origin(origin, settings)
    if allowed is None:
        return {}
    return {
        "access-control-allow-origin": allowed,
        "access-control-expose-headers": EXPOSED_HEADERS,
        "vary": "Origin",
    }


def preflight_headers() -> dict[str, str]:
    """What a page may send."""
    return {
        "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
        "access-control-allow-headers": ALLOWED_HEADERS,
        "access-control-max-age": "600",
    }


def _uploads(place: Place, query: bytes) -> bool:
    """Whether the address is its own key: clients send upload chunks without any."""
    return place.path.startswith("/upload/") and "upload_id" in fields_of(query)


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
