//! The `topology.json` of the open-source SCION router, as far as a gateway needs it: the ISD-AS, and the internal
//! address of the border router behind each interface.
//!
//! ```json
//! {
//!   "isd_as": "1-ff00:0:110",
//!   "border_routers": {
//!     "br1": { "internal_addr": "10.0.0.1:31002", "interfaces": { "1": {}, "2": {} } }
//!   }
//! }
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use scion_packet::IsdAs;
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny};

use crate::config::fault::{Fault, TopologyFault};
use crate::config::place::Place;
use crate::config::problem::Problem;
use crate::config::text_file;

/// Maximum size of a topology file, in bytes; larger than any real one.
const MAX_FILE_BYTES: u64 = 64 << 20;

/// The border routers of one AS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Topology {
    /// The AS.
    pub(crate) isd_as: IsdAs,
    /// The internal address of the router behind each interface.
    pub(crate) next_hops: BTreeMap<u16, SocketAddr>,
}

#[derive(serde::Deserialize)]
struct TopologyFile {
    #[serde(deserialize_with = "isd_as")]
    isd_as: IsdAs,
    #[serde(default)]
    border_routers: BTreeMap<String, BorderRouter>,
}

#[derive(serde::Deserialize)]
struct BorderRouter {
    #[serde(deserialize_with = "internal_addr")]
    internal_addr: SocketAddr,
    #[serde(default)]
    interfaces: BTreeMap<u16, IgnoredAny>,
}

fn isd_as<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IsdAs, D::Error> {
    let text = String::deserialize(deserializer)?;
    let isd_as = text
        .parse()
        .map_err(|_| D::Error::custom(format!("{text:?} is not an ISD-AS number")))?;
    if is_wildcard(isd_as) {
        Err(D::Error::custom(format!("{text:?} is a wildcard")))
    } else {
        Ok(isd_as)
    }
}

/// Returns true if the ISD or the AS is a wildcard.
pub(crate) fn is_wildcard(isd_as: IsdAs) -> bool {
    isd_as.isd() == 0 || isd_as.asn() == 0
}

fn internal_addr<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse()
        .map_err(|_| D::Error::custom(format!("{text:?} is not an IP address with a port")))
}

/// Reads a topology file.
///
/// # Errors
///
/// All problems of the file.
pub(crate) fn read(path: &Path) -> Result<Topology, Vec<Problem>> {
    let text = text_file::read(path, MAX_FILE_BYTES)
        .map_err(|fault| vec![Problem::with_file(path, fault)])?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<Topology, Vec<Problem>> {
    let file: TopologyFile = serde_json::from_str(text).map_err(|error| {
        // The error does not tell which it is: an invalid interface number counts as a syntax error.
        let (fault, error): (fn(String) -> TopologyFault, _) =
            match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => (TopologyFault::NotATopology, error),
                Err(error) => (TopologyFault::NotJson, error),
            };
        // The message ends with the position, which the problem has already.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let place = Place::Line {
            file: path.into(),
            line: error.line().max(1),
        };
        vec![Problem {
            place: Some(place),
            setting: None,
            fault: fault(message.to_owned()).into(),
        }]
    })?;
    let mut problems = Vec::new();
    let mut complain = |fault: TopologyFault| {
        problems.push(Problem {
            place: Some(Place::File(path.into())),
            setting: None,
            fault: Fault::Topology(fault),
        });
    };
    let mut routers: BTreeMap<u16, (String, SocketAddr)> = BTreeMap::new();
    for (name, router) in file.border_routers {
        if router.internal_addr.port() == 0 {
            complain(TopologyFault::PortZero(name.clone()));
        }
        if router.internal_addr.ip().is_unspecified() {
            complain(TopologyFault::Unspecified {
                router: name.clone(),
                address: router.internal_addr,
            });
        }
        for &interface in router.interfaces.keys() {
            if interface == 0 {
                complain(TopologyFault::InterfaceZero(name.clone()));
            }
            if let Some((first, _)) =
                routers.insert(interface, (name.clone(), router.internal_addr))
            {
                complain(TopologyFault::InterfaceTwice {
                    interface,
                    first,
                    second: name.clone(),
                });
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let next_hops = routers
        .into_iter()
        .map(|(interface, (_, address))| (interface, address))
        .collect();
    Ok(Topology {
        isd_as: file.isd_as,
        next_hops,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output of the open-source router's generator, shortened.
    const TOPOLOGY: &str = r#"{
  "attributes": [],
  "isd_as": "1-ff00:0:110",
  "mtu": 1400,
  "control_service": { "cs1-ff00_0_110-1": { "addr": "127.0.0.20:31000" } },
  "border_routers": {
    "br1-ff00_0_110-1": {
      "internal_addr": "127.0.0.9:31002",
      "interfaces": {
        "1": {
          "underlay": { "local": "127.0.0.4:50000", "remote": "127.0.0.5:50000" },
          "isd_as": "1-ff00:0:111",
          "link_to": "child",
          "mtu": 1280
        }
      }
    },
    "br1-ff00_0_110-2": { "internal_addr": "[::1]:31004", "interfaces": { "2": {}, "41": {} } }
  }
}"#;

    /// The topology, or the text of each problem.
    fn read_text(text: &str) -> Result<Topology, Vec<String>> {
        parse("topology.json".as_ref(), text)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn each_interface_leads_to_its_router() {
        let topology = read_text(TOPOLOGY).unwrap();
        assert_eq!(topology.isd_as, "1-ff00:0:110".parse().unwrap());
        let next_hops: Vec<String> = topology
            .next_hops
            .iter()
            .map(|(interface, router)| format!("{interface} {router}"))
            .collect();
        assert_eq!(
            next_hops,
            ["1 127.0.0.9:31002", "2 [::1]:31004", "41 [::1]:31004"]
        );
    }

    #[test]
    fn invalid_values_are_reported_with_their_line() {
        for (from, to, line, what) in [
            (
                "1-ff00:0:110\",",
                "1-zz\",",
                3,
                "\"1-zz\" is not an ISD-AS number",
            ),
            ("1-ff00:0:110\",", "1-0\",", 3, "\"1-0\" is a wildcard"),
            (
                "127.0.0.9:31002",
                "router:31002",
                8,
                "\"router:31002\" is not an IP address with a port",
            ),
            ("\"1\": {", "\"one\": {", 10, "invalid"),
            ("\"1\": {", "\"65536\": {", 10, "invalid"),
            (
                "\"interfaces\": { \"2\": {}, \"41\": {} }",
                "\"interfaces\": [2, 41]",
                18,
                "invalid type",
            ),
            (
                "\"isd_as\": \"1-ff00:0:110\",",
                "",
                20,
                "missing field `isd_as`",
            ),
        ] {
            assert!(TOPOLOGY.contains(from), "{from}");
            let complaints = read_text(&TOPOLOGY.replacen(from, to, 1)).unwrap_err();
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            let start = format!("topology.json:{line}: this is no topology of a SCION AS: ");
            let end =
                "; it needs isd_as and border_routers, each with internal_addr and interfaces";
            assert!(
                complaints[0].starts_with(&start)
                    && complaints[0].contains(what)
                    && complaints[0].ends_with(end),
                "{to}: {complaints:?}"
            );
        }
    }

    #[test]
    fn invalid_json_is_reported_with_its_line() {
        let text = TOPOLOGY.replacen("\"mtu\": 1400,", "\"mtu\": 1400", 1);
        assert_eq!(
            read_text(&text).unwrap_err(),
            ["topology.json:5: this is not JSON: expected `,` or `}`"]
        );
        assert_eq!(
            read_text("").unwrap_err(),
            ["topology.json:1: this is not JSON: EOF while parsing a value"]
        );
    }

    #[test]
    fn all_contradictions_are_reported() {
        let text = TOPOLOGY
            .replace("\"41\"", "\"1\"")
            .replace("\"2\"", "\"0\"")
            .replace(":31002", ":0")
            .replace("[::1]", "[::]");
        assert_eq!(
            read_text(&text).unwrap_err(),
            [
                "topology.json: border router \"br1-ff00_0_110-1\" has port 0 in its \
                 internal_addr; give it the port it listens on",
                "topology.json: border router \"br1-ff00_0_110-2\" has the internal_addr \
                 [::]:31004, every address of a host; give it the one that the gateway reaches",
                "topology.json: border router \"br1-ff00_0_110-2\" has an interface 0; interfaces \
                 count from 1",
                "topology.json: border routers \"br1-ff00_0_110-1\" and \"br1-ff00_0_110-2\" both \
                 have interface 1; remove it from one of them",
            ]
        );
    }

    #[test]
    fn an_as_without_routers_is_valid() {
        let topology = read_text(r#"{"isd_as": "1-64512"}"#).unwrap();
        assert!(topology.next_hops.is_empty());
    }
}
