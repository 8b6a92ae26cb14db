//! Prints the headers of a SCION packet: `cargo run --example print_packet [FILE]`.
//!
//! Reads the packet from FILE, or from standard input. Input of hexadecimal digits and white space is decoded; other
//! input is the packet itself, which cannot begin with a hexadecimal digit: these are SCION versions 3 to 6.
//!
//! ```text
//! $ echo '00000001 11090008 00000000 0001ff0000000110 0001ff0000000110 c0000201 c6336401 9c409c41 00080000' |
//!       cargo run --example print_packet
//! source:       1-ff00:0:110,198.51.100.1
//! destination:  1-ff00:0:110,192.0.2.1
//! length:       44 bytes: header 36, payload 8
//! path type:    0 (empty)
//! next header:  17 (UDP)
//! upper layer:  UDP, port 40000 to port 40001
//! delivered to: port 40001
//! forwarded at: no interface: the path is empty
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the output of the example"
)]

use std::error::Error;
use std::fmt::Display;
use std::io::Read;
use std::process::ExitCode;
use std::{env, fs, io};

use scion_packet::upper_layer::{END_TO_END, HOP_BY_HOP, SCMP, TCP, UDP};
use scion_packet::{
    Host, IsdAs, MalformedPacket, Path, ScionPacket, UpperLayer, delivery_port, egress_interface,
};

fn main() -> ExitCode {
    match read_input().and_then(|bytes| print_packet(&bytes)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read_input() -> Result<Vec<u8>, Box<dyn Error>> {
    let input = match env::args_os().nth(1) {
        Some(file) => {
            fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?
        }
        None => {
            let mut input = Vec::new();
            io::stdin().read_to_end(&mut input)?;
            input
        }
    };
    match std::str::from_utf8(&input) {
        Ok(text) if is_hexadecimal(text) => decode(text),
        _ => Ok(input),
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.chars()
        .all(|character| character.is_ascii_hexdigit() || character.is_whitespace())
}

fn decode(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let digits: Vec<char> = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .collect();
    if !digits.len().is_multiple_of(2) {
        return Err(format!("expected pairs of hexadecimal digits, got {}", digits.len()).into());
    }
    let bytes = digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

/// Prints a packet. A packet with a truncated payload is printed before the error.
fn print_packet(bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let verdict = ScionPacket::parse(bytes);
    let packet = match verdict {
        Err(MalformedPacket::TruncatedPayload) => ScionPacket::parse_quote(bytes),
        verdict => verdict,
    };
    let packet = packet.map_err(|error| not_a_packet(bytes, error))?;

    print("source", address(packet.src_isd_as(), packet.src_host()));
    print(
        "destination",
        address(packet.dst_isd_as(), packet.dst_host()),
    );
    let (header, payload) = (packet.header_len(), packet.payload_len());
    print(
        "length",
        format!("{} bytes: header {header}, payload {payload}", bytes.len()),
    );
    print("path type", path_type(&packet));
    print("next header", protocol(packet.next_header()));
    verdict.map_err(|error| not_a_packet(bytes, error))?;

    match packet.upper_layer() {
        Ok(upper) => print("upper layer", upper_layer(&upper)),
        Err(error) => print("upper layer", error),
    }
    match delivery_port(&packet) {
        Ok(port) => print("delivered to", format!("port {port}")),
        Err(error) => print("delivered to", format!("no port: {error}")),
    }
    match egress_interface(&packet) {
        Ok(interface) => print("forwarded at", format!("interface {interface}")),
        Err(error) => print("forwarded at", format!("no interface: {error}")),
    }
    Ok(())
}

fn not_a_packet(bytes: &[u8], error: MalformedPacket) -> String {
    format!(
        "{} bytes are not a SCION packet: {error} ({})",
        bytes.len(),
        error.name()
    )
}

fn print(label: &str, value: impl Display) {
    println!("{:<14}{value}", format!("{label}:"));
}

fn address(isd_as: IsdAs, host: Host) -> String {
    match host {
        Host::Ip(ip) => format!("{isd_as},{ip}"),
        Host::Service(service) => format!("{isd_as}, service {service:#06x}"),
        Host::Other { kind } => format!("{isd_as}, host of unknown kind {kind}"),
    }
}

fn path_type(packet: &ScionPacket<'_>) -> String {
    match packet.path() {
        Path::Empty => "0 (empty)".to_owned(),
        Path::Standard(path) => format!(
            "1 (SCION): {} segment(s), hop field {} of {}",
            path.info_field_count(),
            path.current_hop_field() + 1,
            path.hop_field_count(),
        ),
        Path::Other { path_type } => format!("{path_type} (not parsed)"),
    }
}

fn protocol(next_header: u8) -> String {
    let name = match next_header {
        TCP => "TCP",
        UDP => "UDP",
        HOP_BY_HOP => "hop-by-hop options",
        END_TO_END => "end-to-end options",
        SCMP => "SCMP",
        _ => "not parsed",
    };
    format!("{next_header} ({name})")
}

fn upper_layer(upper: &UpperLayer<'_>) -> String {
    match (upper.protocol, upper.bytes) {
        (UDP | TCP, &[source0, source1, destination0, destination1, ..]) => {
            let source = u16::from_be_bytes([source0, source1]);
            let destination = u16::from_be_bytes([destination0, destination1]);
            let name = if upper.protocol == UDP { "UDP" } else { "TCP" };
            format!("{name}, port {source} to port {destination}")
        }
        (SCMP, &[message_type, code, ..]) => format!("SCMP, type {message_type}, code {code}"),
        (other, bytes) => format!("{}, {} bytes", protocol(other), bytes.len()),
    }
}
