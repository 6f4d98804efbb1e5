"""An exception for each code of the protocol, and two for what is not the gateway's answer."""
from typing import Any


class CometboxError(Exception):
    """Somebody said no. As text: who and why, and what to do."""
    code = "unknown"
    status, retry_after = 0, 0.0  # of the answer, 0 if none came; seconds
    reason: str | None = None  # why a mailbox was closed
    index: int | None = None  # of the bad item in a batch
    id: str | None = None  # of a plugin's failure, in the gateway's log


def error(*, code: str, message: str, **more: Any) -> CometboxError:
    exception = {cls.code: cls for cls in CometboxError.__subclasses__()}.get(code, CometboxError)(message)
    exception.__dict__.update(code=code, **more)
    return exception


class BadRequest(CometboxError): code = "bad_request"
class BadCursor(CometboxError): code = "bad_cursor"
class BadName(CometboxError): code = "bad_name"
class BadPayload(CometboxError): code = "bad_payload"
class Unauthorized(CometboxError): code = "unauthorized"
class Forbidden(CometboxError): code = "forbidden"
class NotFound(CometboxError): code = "not_found"
class MethodNotAllowed(CometboxError): code = "method_not_allowed"
class RequestTimeout(CometboxError): code = "request_timeout"
class Displaced(CometboxError): code = "displaced"
class NameTaken(CometboxError): code = "name_taken"
class Closed(CometboxError): code = "closed"
class TooLarge(CometboxError): code = "too_large"
class UriTooLong(CometboxError): code = "uri_too_long"
class HeadersTooLarge(CometboxError): code = "headers_too_large"
class UpgradeRequired(CometboxError): code = "upgrade_required"
class Rejected(CometboxError): code = "rejected"
class PluginFailed(CometboxError): code = "plugin_failed"
class Overloaded(CometboxError): code = "overloaded"
class NoSeat(CometboxError): code = "no_seat"
class NotKept(CometboxError): code = "not_kept"
class ShuttingDown(CometboxError): code = "shutting_down"
class NetworkError(CometboxError): code = "network"  # no answer: whether it arrived is not known
class HttpError(CometboxError): code = "http_error"  # of something between here and the gateway
OPEN_AGAIN = (NotFound, Unauthorized, BadCursor)  # while iterating: the mailbox is gone, open another
