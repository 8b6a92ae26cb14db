//! Reads the body of a request, within its limit.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::code::Code;
use super::error::RpcError;

/// Number of bytes of a body that are read and discarded. If the server closed a connection with unread bytes, the
/// client's kernel would discard the answer.
const DISCARDED: usize = 1 << 20;

/// Reads a body of at most `limit` bytes. Of a larger one, the rest is read and discarded.
pub(super) async fn read_body<B>(body: B, limit: usize) -> Result<Bytes, RpcError>
where
    B: Body<Data = Bytes>,
{
    let mut body = std::pin::pin!(body);
    let mut read = BytesMut::new();
    let mut length = 0_usize;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            let text = "the body of the request is incomplete";
            return Err(RpcError::new(Code::InvalidArgument, text));
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length = length.saturating_add(data.len());
        if length <= limit {
            read.extend_from_slice(&data);
        } else {
            read = BytesMut::new();
            if length - limit > DISCARDED {
                break;
            }
        }
    }
    if length > limit {
        let text = format!("the body of the request has more than {limit} bytes");
        return Err(RpcError::new(Code::ResourceExhausted, text));
    }
    Ok(read.freeze())
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    fn read(bytes: usize) -> Result<Bytes, RpcError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(read_body(Full::new(Bytes::from(vec![7; bytes])), 10))
    }

    #[test]
    fn a_body_up_to_the_limit_is_read() {
        for bytes in [0, 1, 10] {
            assert_eq!(read(bytes).unwrap().len(), bytes);
        }
    }

    #[test]
    fn a_body_above_the_limit_is_refused() {
        for bytes in [11, 1000, 10 + DISCARDED, 11 + DISCARDED] {
            assert_eq!(read(bytes).unwrap_err().code(), Code::ResourceExhausted);
        }
    }
}
