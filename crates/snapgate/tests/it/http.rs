//! Asking the HTTP side.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Status line and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// The sum of all samples of `metric`.
pub(crate) fn sum(text: &str, metric: &str) -> u64 {
    text.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(metric))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}
