//! What the control plane reads from the network: requests, answers of the endhost API, certificates.
//!
//! The first byte selects one. Requests and answers are written like HTTP/1.1: a first line, headers, an empty line, the
//! body; lines end with a line feed.

use snapgate_control::rpc::fuzzing::{Decision, Refused, decide, pass_on, validity};
use snapgate_control::rpc::{Code, Method};

/// Reads `data`.
pub fn run(data: &[u8]) {
    let Some((&kind, data)) = data.split_first() else {
        return;
    };
    match kind {
        b'R' => request(data),
        b'A' => answer(data),
        _ => {
            if let Some((not_before, not_after)) = validity(data) {
                // Both are in the years that certificates can express.
                for time in [not_before, not_after] {
                    assert!(
                        (-1..=9999).contains(&time.strftime("%Y").to_string().parse().unwrap())
                    );
                }
            }
        }
    }
}

struct Message<'a> {
    first_line: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    body: &'a [u8],
}

fn parse(data: &[u8]) -> Option<Message<'_>> {
    let mut rest = data;
    let mut next_line = || {
        let end = rest.iter().position(|&byte| byte == b'\n')?;
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line)
    };
    let first_line = std::str::from_utf8(next_line()?).ok()?;
    let mut headers = Vec::new();
    loop {
        let line = next_line()?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|&byte| byte == b':')?;
        let name = std::str::from_utf8(&line[..colon]).ok()?;
        headers.push((name, line[colon + 1..].trim_ascii_start()));
    }
    Some(Message {
        first_line,
        headers,
        body: rest,
    })
}

fn request(data: &[u8]) {
    let Some(message) = parse(data) else {
        return;
    };
    let Some((http_method, path)) = message.first_line.split_once(' ') else {
        return;
    };
    let body = message.body;
    let Some((method, decision)) = decide(http_method, path, &message.headers, body) else {
        return;
    };
    if let Decision::Refuse(refused) = &decision {
        assert_is_an_error(refused);
        if !refused.by_body {
            return;
        }
    }
    // Only a complete header leads to the body.
    assert_eq!(http_method, "POST");
    assert_ne!(method, Method::Unknown);
    let count = |wanted: &str| {
        let is_wanted = |(name, _): &&(&str, &[u8])| name.eq_ignore_ascii_case(wanted);
        message.headers.iter().filter(is_wanted).count()
    };
    assert_eq!(count("authorization"), 1);
    assert!(count("content-type") >= 1);
    if let Some(expected) = expected(method, body) {
        match decision {
            Decision::Refuse(refused) => assert_eq!(expected, None, "{}", refused.message),
            decision => assert_eq!(expected, Some(decision)),
        }
    }
}

fn assert_is_an_error(refused: &Refused) {
    assert_ne!(refused.code, Code::Ok);
    assert!((400..600).contains(&refused.status));
    assert!(!refused.message.is_empty());
    if refused.by_body {
        assert_eq!((refused.code, refused.status), (Code::InvalidArgument, 400));
    }
}

fn answer(data: &[u8]) {
    let Some(message) = parse(data) else {
        return;
    };
    let Ok(status) = message.first_line.parse() else {
        return;
    };
    if let Some(passed_on) = pass_on(status, &message.headers, message.body) {
        assert_eq!(status, 200);
        assert_eq!(passed_on, message.body);
        let fields = fields(message.body);
        assert!(!matches!(fields, Fields::Malformed));
    }
}

/// The fields of a protobuf message.
enum Fields<'a> {
    Malformed,
    /// It contains a group, an outdated feature that this parser does not know.
    Unknown,
    Parsed(Vec<(u64, Value<'a>)>),
}

enum Value<'a> {
    Varint(u64),
    Fixed,
    Bytes(&'a [u8]),
}

/// A second parser of protobuf messages.
fn fields(mut rest: &[u8]) -> Fields<'_> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let Some(key) = varint(&mut rest) else {
            return Fields::Malformed;
        };
        let number = key >> 3;
        if number == 0 || u32::try_from(key).is_err() {
            return Fields::Malformed;
        }
        let value = match key & 7 {
            0 => varint(&mut rest).map(Value::Varint),
            1 => take(&mut rest, 8).map(|_| Value::Fixed),
            2 => varint(&mut rest)
                .and_then(|length| take(&mut rest, length))
                .map(Value::Bytes),
            5 => take(&mut rest, 4).map(|_| Value::Fixed),
            3 | 4 => return Fields::Unknown,
            _ => None,
        };
        match value {
            Some(value) => fields.push((number, value)),
            None => return Fields::Malformed,
        }
    }
    Fields::Parsed(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for index in 0..10 {
        let (&byte, left) = rest.split_first()?;
        *rest = left;
        // The tenth byte has one bit.
        if index == 9 && byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Returns the decision for a body, with an inner `None` for a refusal, or `None` if this parser does not know.
fn expected(method: Method, body: &[u8]) -> Option<Option<Decision>> {
    let fields = match fields(body) {
        Fields::Malformed => return Some(None),
        Fields::Unknown => return None,
        Fields::Parsed(fields) => fields,
    };
    // Of a field that occurs more than once, the last value counts.
    let mut numbers = [0_u64; 4];
    let mut texts = [&[][..]; 5];
    for (number, value) in fields {
        let kind = match method {
            Method::ListUnderlays => [b'v', b' ', b' ', b' '],
            Method::ListSegments | Method::ListPaths => [b'v', b'v', b'v', b's'],
            Method::RegisterSnapTunIdentity => [b'b', b'b', b' ', b' '],
            _ => [b' '; 4],
        };
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        match (kind.get(index.wrapping_sub(1)).unwrap_or(&b' '), value) {
            (b' ', _) => {}
            (b'v', Value::Varint(value)) => numbers[index] = value,
            (b'b', Value::Bytes(value)) => texts[index] = value,
            (b's', Value::Bytes(value)) => {
                if std::str::from_utf8(value).is_err() {
                    return Some(None);
                }
            }
            _ => return Some(None),
        }
    }
    Some(match method {
        Method::ListUnderlays => Some(Decision::ListUnderlays(numbers[1])),
        Method::ListSegments | Method::ListPaths => Some(Decision::ListSegments),
        Method::GetSnapDataPlaneAddress => Some(Decision::GetSnapDataPlaneAddress),
        Method::RegisterSnapTunIdentity => {
            let [_, key, share, ..] = texts;
            let no_share = matches!(share.len(), 0 | 32) && share.iter().all(|&byte| byte == 0);
            let key = <[u8; 32]>::try_from(key).ok().filter(|_| no_share);
            key.map(Decision::RegisterSnapTunIdentity)
        }
        Method::Unknown => None,
    })
}
