//! An application of the SCION stack that sends datagrams back, or sends them and waits until they are back.
//!
//! Usage: `scion-echo serve|send OPTIONS`, see [`USAGE`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program writes to standard output and standard error"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs};

use scion_sdk_utils::rustls::select_ring_crypto_provider;
use scion_stack::path::fetcher::traits::PathFetcher as _;
use scion_stack::sciparse::address::ip_socket_addr::ScionSocketIpAddr;
use scion_stack::sciparse::identifier::isd_asn::IsdAsn;
use scion_stack::sciparse::path::ScionPath;
use scion_stack::url::Url;
use scion_stack::{ScionStack, ScionStackBuilder, UdpScionSocket};
use snapgate_e2e::error_chain;
use tokio::time::timeout;

const USAGE: &str = "\
usage: scion-echo serve --endhost-api URL [--token-file FILE] [--bind ADDRESS:PORT]
       scion-echo send  --endhost-api URL [--token-file FILE] [--count N] DESTINATION

URL is the endhost API of the AS; that of a SNAP is its control plane, which demands a token.
DESTINATION is a SCION address such as [2-ff00:0:210,192.0.2.1]:30200.";

/// Time limit of a round trip.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Time between datagrams.
const PAUSE: Duration = Duration::from_millis(20);

const PAYLOAD: &[u8] = b"hello, SCION";

/// Options with a value.
const OPTIONS: [&str; 4] = ["--endhost-api", "--token-file", "--bind", "--count"];

#[tokio::main]
async fn main() -> ExitCode {
    select_ring_crypto_provider();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", error_chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let command = arguments.next().ok_or(USAGE)?;
    let mut options = BTreeMap::new();
    let mut destination = None;
    while let Some(argument) = arguments.next() {
        if OPTIONS.contains(&argument.as_str()) {
            let value = arguments.next().ok_or(USAGE)?;
            options.insert(argument, value);
        } else if destination.is_none() && !argument.starts_with('-') {
            destination = Some(argument);
        } else {
            return Err(format!("unexpected {argument:?}\n{USAGE}").into());
        }
    }

    let url = options.get("--endhost-api").ok_or(USAGE)?;
    let url = url
        .parse::<Url>()
        .map_err(|error| format!("{url}: {error}"))?;
    let mut builder = ScionStackBuilder::new().with_endhost_api(url);
    if let Some(file) = options.get("--token-file") {
        let token = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        builder = builder.with_auth_token(token.trim().to_owned());
    }
    let stack = builder.build().await?;
    let local = *stack.local_ases().first().ok_or("the API serves no AS")?;
    match (command.as_str(), destination) {
        ("serve", None) => serve(&stack, local, options.get("--bind")).await,
        ("send", Some(destination)) => {
            let destination = destination.parse::<ScionSocketIpAddr>().map_err(|_| {
                format!("{destination:?} is not an address such as [2-ff00:0:210,192.0.2.1]:30200")
            })?;
            let count = options.get("--count").map_or(Ok(1), |count| count.parse());
            send(&stack, local, destination, count.map_err(|_| USAGE)?).await
        }
        _ => Err(USAGE.into()),
    }
}

/// Sends every datagram back.
async fn serve(
    stack: &ScionStack,
    local: IsdAsn,
    bind: Option<&String>,
) -> Result<(), Box<dyn Error>> {
    let address = match bind {
        Some(text) => {
            let address: SocketAddr = text.parse().map_err(|_| {
                format!("--bind: expected an address such as 127.0.0.1:30200, got {text:?}")
            })?;
            Some(ScionSocketIpAddr::from_std(local, address))
        }
        None => None,
    };
    let socket = stack.bind(address).await?;
    println!("serving at {}{}", socket.local_addr(), behind(&socket));
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await?;
        println!("{length} bytes from {from}");
        socket.send_to(&buffer[..length], from).await?;
    }
}

/// Sends datagrams one after the other.
async fn send(
    stack: &ScionStack,
    local: IsdAsn,
    destination: ScionSocketIpAddr,
    count: usize,
) -> Result<(), Box<dyn Error>> {
    let socket = stack.bind(None).await?;
    println!("bound to {}{}", socket.local_addr(), behind(&socket));
    let path = path(stack, local, destination.isd_asn()).await?;
    let mut round_trips = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    for number in 0..count {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let start = Instant::now();
        socket.send_to_via(PAYLOAD, destination, &path).await?;
        if let Ok(received) = timeout(TIMEOUT, socket.recv_from(&mut buffer)).await {
            let (length, from) = received?;
            if (&buffer[..length], from) != (PAYLOAD, destination) {
                return Err(format!("received {length} other bytes from {from}").into());
            }
            round_trips.push(start.elapsed());
        }
    }
    round_trips.sort_unstable();
    let median = round_trips.get(round_trips.len() / 2).copied();
    println!(
        "{} of {count} back, round trip {:.2} ms (median)",
        round_trips.len(),
        median.unwrap_or_default().as_secs_f64() * 1000.0
    );
    if round_trips.len() < count {
        return Err(format!("no answer from {destination} within {TIMEOUT:?}").into());
    }
    Ok(())
}

/// Returns the first path to an AS.
async fn path(stack: &ScionStack, from: IsdAsn, to: IsdAsn) -> Result<ScionPath, Box<dyn Error>> {
    if from == to {
        return ScionPath::local(from).ok_or_else(|| format!("{from} is a wildcard").into());
    }
    let paths = stack.create_path_fetcher().fetch_paths(from, to).await?;
    let count = paths.len();
    let path = paths.into_iter().next();
    let path = path.ok_or_else(|| format!("no path from {from} to {to}"))?;
    let mut text = String::new();
    path.format_interfaces(&mut text)?;
    println!("first of {count} paths: {text}");
    Ok(path)
}

fn behind(socket: &UdpScionSocket) -> String {
    let snap = socket.snap_data_plane();
    snap.map_or_else(String::new, |snap| format!(", behind the SNAP at {snap}"))
}
