//! From what object_store and the file system report to what the caller does next.

use std::error::Error;
use std::io;

use object_store::client::{HttpError, HttpErrorKind};

use super::error::{Class, Fault, Kind};

/// How object_store 0.14 words an HTTP status in its private error; the conformance suite fails should that change.
const STATUS_PREFIX: &str = "Server returned non-2xx status code: ";

/// Classes an error of object_store.
pub(super) fn fault(error: object_store::Error) -> Fault {
    use object_store::Error as E;
    let (class, kind) = match &error {
        E::NotFound { .. } if bucket_missing(&error) => (Class::Never, Kind::NotFound),
        E::NotFound { .. } => (Class::Missing, Kind::NotFound),
        E::AlreadyExists { .. } | E::Precondition { .. } => (Class::Exists, Kind::Exists),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            // An answer to HEAD has no body that could say more.
            Answer::of(&error).map_or((Class::Never, Kind::Auth), |answer| answer.verdict())
        }
        E::Generic { .. } => generic(&error),
        E::JoinError { .. } => (Class::Later, Kind::Other),
        _ => (Class::Never, Kind::Other),
    };
    Fault::new(class, kind, error)
}

/// Classes an error of the file system.
pub(super) fn io_fault(error: io::Error) -> Fault {
    let (class, kind) = io_kind(&error);
    Fault::new(class, kind, error)
}

fn io_kind(error: &io::Error) -> (Class, Kind) {
    use io::ErrorKind as K;
    match error.kind() {
        K::NotFound => (Class::Missing, Kind::NotFound),
        K::AlreadyExists => (Class::Exists, Kind::Exists),
        K::StorageFull | K::QuotaExceeded => (Class::Later, Kind::NoSpace),
        K::PermissionDenied | K::ReadOnlyFilesystem => (Class::Never, Kind::Auth),
        K::TimedOut => (Class::Later, Kind::Timeout),
        K::StaleNetworkFileHandle | K::HostUnreachable | K::NetworkUnreachable | K::NetworkDown => {
            (Class::Later, Kind::Connection)
        }
        K::InvalidFilename
        | K::InvalidInput
        | K::NotADirectory
        | K::IsADirectory
        | K::FileTooLarge
        | K::CrossesDevices
        | K::Unsupported => (Class::Never, Kind::Other),
        // EIO has no kind of its own; neither has a lack of file descriptors. Both may pass.
        _ => (Class::Later, Kind::Server),
    }
}

fn generic(error: &object_store::Error) -> (Class, Kind) {
    if let Some(answer) = Answer::of(error) {
        return answer.verdict();
    }
    for cause in chain(error) {
        if let Some(http) = cause.downcast_ref::<HttpError>() {
            return match http.kind() {
                HttpErrorKind::Timeout => (Class::Later, Kind::Timeout),
                HttpErrorKind::Decode => (Class::Later, Kind::Server),
                _ => (Class::Later, Kind::Connection),
            };
        }
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return match io_kind(io) {
                // A file of ours, such as a key, not an object.
                (Class::Missing | Class::Exists, kind) => (Class::Never, kind),
                verdict => verdict,
            };
        }
    }
    let text = chain(error).map(|cause| cause.to_string()).collect::<String>().to_ascii_lowercase();
    let (credentials, list) = (["credential", "token", "private_key"], ["list response", "xml"]);
    if credentials.iter().any(|word| text.contains(word)) {
        // The metadata service or the token endpoint did not give what it should; it may later.
        (Class::Later, Kind::Auth)
    } else if list.iter().any(|word| text.contains(word)) {
        (Class::Later, Kind::Server)
    } else {
        (Class::Never, Kind::Other)
    }
}

/// An answer of the server that was not success.
struct Answer {
    status: u16,
    /// Starts with the status's reason phrase.
    body: String,
}

impl Answer {
    fn of(error: &object_store::Error) -> Option<Self> {
        chain(error).find_map(|cause| {
            let text = cause.to_string();
            let rest = &text[text.find(STATUS_PREFIX)? + STATUS_PREFIX.len()..];
            Some(Self { status: rest.get(..3)?.parse().ok()?, body: rest.to_owned() })
        })
    }

    fn names(&self, codes: &[&str]) -> bool {
        codes.iter().any(|code| self.body.contains(code))
    }

    /// The codes are those of S3 (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>) and Azure
    /// (<https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>).
    fn verdict(&self) -> (Class, Kind) {
        match self.status {
            // A key that is not allowed to will not be by waiting; a token is renewed, a clock is set right.
            401 | 403 if self.names(&["ExpiredToken", "RequestTimeTooSkewed", "RequestExpired"]) => {
                (Class::Later, Kind::Auth)
            }
            401 | 403 => (Class::Never, Kind::Auth),
            404 => (Class::Never, Kind::NotFound),
            408 => (Class::Later, Kind::Timeout),
            429 => (Class::Later, Kind::Throttled),
            400 if self.names(&["RequestTimeout"]) => (Class::Later, Kind::Timeout),
            400 if self.names(&["ExpiredToken", "TokenRefreshRequired"]) => (Class::Later, Kind::Auth),
            400 if self.names(&["InvalidToken", "InvalidAccessKeyId", "AuthorizationHeaderMalformed"]) => {
                (Class::Never, Kind::Auth)
            }
            501 => (Class::Never, Kind::Other),
            507 => (Class::Later, Kind::NoSpace),
            500.. if self.names(&["StorageFull", "InsufficientStorage"]) => (Class::Later, Kind::NoSpace),
            500.. if self.names(&["SlowDown", "Throttl", "ServerBusy", "TooManyRequests", "Reduce your request"]) => {
                (Class::Later, Kind::Throttled)
            }
            500.. => (Class::Later, Kind::Server),
            _ => (Class::Never, Kind::Other),
        }
    }
}

fn bucket_missing(error: &object_store::Error) -> bool {
    Answer::of(error)
        .is_some_and(|answer| answer.names(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]))
}

fn chain(error: &object_store::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |&cause| cause.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(text: &str) -> (Class, Kind) {
        let source = io::Error::other(format!("Error performing PUT: {STATUS_PREFIX}{text}"));
        let fault = fault(object_store::Error::Generic { store: "S3", source: Box::new(source) });
        (fault.class, fault.kind)
    }

    #[test]
    fn an_answer_is_classed_by_its_status_and_code() {
        assert_eq!(answered("503 Service Unavailable: <Code>SlowDown</Code>"), (Class::Later, Kind::Throttled));
        assert_eq!(answered("503 Service Unavailable: "), (Class::Later, Kind::Server));
        assert_eq!(answered("500 Internal Server Error: x"), (Class::Later, Kind::Server));
        assert_eq!(answered("400 Bad Request: <Code>RequestTimeout</Code>"), (Class::Later, Kind::Timeout));
        assert_eq!(answered("400 Bad Request: <Code>InvalidRequest</Code>"), (Class::Never, Kind::Other));
        assert_eq!(answered("403 Forbidden: <Code>AccessDenied</Code>"), (Class::Never, Kind::Auth));
        assert_eq!(answered("403 Forbidden: <Code>RequestTimeTooSkewed</Code>"), (Class::Later, Kind::Auth));
        assert_eq!(answered("501 Not Implemented: "), (Class::Never, Kind::Other));
        assert_eq!(answered("507 Insufficient Storage: "), (Class::Later, Kind::NoSpace));
    }

    #[test]
    fn a_full_disk_may_pass_and_a_read_only_one_does_not() {
        let of = |kind: io::ErrorKind| io_kind(&io::Error::from(kind));
        assert_eq!(of(io::ErrorKind::StorageFull), (Class::Later, Kind::NoSpace));
        assert_eq!(of(io::ErrorKind::ReadOnlyFilesystem), (Class::Never, Kind::Auth));
        assert_eq!(of(io::ErrorKind::PermissionDenied), (Class::Never, Kind::Auth));
        assert_eq!(io_kind(&io::Error::from_raw_os_error(28)), (Class::Later, Kind::NoSpace));
        assert_eq!(io_kind(&io::Error::from_raw_os_error(30)), (Class::Never, Kind::Auth));
        assert_eq!(io_kind(&io::Error::from_raw_os_error(5)), (Class::Later, Kind::Server));
    }
}
