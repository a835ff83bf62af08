"""Error codes of AWS that do not depend on the content of a request."""

from __future__ import annotations

DENIED = frozenset({"AccessDenied", "AccessDeniedException"})
"""The credentials are valid, and lack a permission."""

CREDENTIALS = DENIED | {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "NotAuthorized",
    "SignatureDoesNotMatch",
    "UnrecognizedClient",
    "UnrecognizedClientException",
}
"""The credentials were rejected, and may have been replaced in the meantime."""

TRANSIENT = frozenset(
    {
        "RequestExpired",
        "RequestLimitExceeded",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The same request can be accepted later."""

NO_CREDENTIALS = "NoCredentials"
NO_CREDENTIALS_MESSAGE = (
    "no AWS credentials found in the environment, the shared files, or the role of the container "
    "or instance"
)


class CredentialsError(Exception):
    """Credentials could not be loaded. `code` identifies the failure in metrics."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
