//! Resolution of the SCION side: routers, local ASes and local hosts, from settings and topology.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use scion_packet::IsdAs;
use serde_json::Value;

use super::listen::overlap;
use super::{Resolver, first_place, strings};
use crate::config::fault::Fault;
use crate::config::file::resolve_path;
use crate::config::options::Options;
use crate::config::place::Place;
use crate::config::problem::{Problem, Warning};
use crate::config::setting::{Scope, Setting};
use crate::config::settings;
use crate::config::values::{self, NextHop};
use crate::config::{InternalFrom, ScionForward};
use crate::topology::{self, Topology};

/// Router behind each interface, with its source, in a readable order.
type NextHops = BTreeMap<(IsdAs, u16), (SocketAddr, Place)>;

/// [`InternalFrom`], with the place of each prefix.
enum InternalSources {
    Prefixes(Vec<(IpNet, Place)>),
    Any,
}

impl Resolver {
    /// Resolves the settings of the forward mode `scion`.
    pub(super) fn scion(
        &mut self,
        listen: &[SocketAddr],
        options: &mut Options,
    ) -> Option<ScionForward> {
        for setting in settings::in_scope(Scope::Scion) {
            self.set(setting, options);
        }
        let internal = self.internal(listen, options);
        let mut next_hops = self.next_hops();
        let topology = self.topology();
        if let Some((topology, place)) = &topology {
            let mut topology = topology.clone();
            if let Some(internal) = internal {
                self.leave_out_unreachable(internal, &next_hops, &mut topology, place);
            }
            self.merge(&mut next_hops, &topology, place);
        }
        self.record_next_hops(&next_hops, topology.as_ref().map(|(_, place)| place));
        let local_isd_as = self.local_isd_as(&next_hops, topology.as_ref());
        let local_prefixes = self.local_prefixes();
        let sources = self.internal_from();
        let internal = internal?;
        self.check_reachable(internal, &next_hops);
        self.check_families(internal, &settings::LOCAL_PREFIX, &local_prefixes);
        if let InternalSources::Prefixes(prefixes) = &sources {
            self.check_families(internal, &settings::INTERNAL_FROM, prefixes);
        }
        if next_hops.is_empty() && self.problems.is_empty() {
            self.warnings.push(Warning::NoNextHop);
        }
        Some(ScionForward {
            internal,
            interface: options.internal_interface,
            next_hops: next_hops
                .into_iter()
                .map(|(hop, (address, _))| (hop, address))
                .collect::<HashMap<_, _>>(),
            local_isd_as: local_isd_as?,
            local_prefixes: local_prefixes
                .into_iter()
                .map(|(prefix, _)| prefix)
                .collect(),
            internal_from: match sources {
                InternalSources::Any => InternalFrom::Any,
                InternalSources::Prefixes(prefixes) => {
                    InternalFrom::Prefixes(prefixes.into_iter().map(|(prefix, _)| prefix).collect())
                }
            },
            scmp_error_limits: options.scmp_error_limits,
        })
    }

    fn internal(&mut self, listen: &[SocketAddr], options: &Options) -> Option<SocketAddr> {
        let setting = &settings::INTERNAL;
        let Some((internal, place)) =
            self.one(setting, |value| values::own_address(&value.text, 30100))
        else {
            self.require(setting);
            return None;
        };
        let interfaces = options.listen_interface.zip(options.internal_interface);
        let is_separate = interfaces.is_some_and(|(listen, internal)| listen != internal);
        if let Some(&listen) = listen
            .iter()
            .find(|listen| !is_separate && overlap(internal, **listen))
        {
            self.report(
                Some(place.clone()),
                setting,
                Fault::InternalIsListen { internal, listen },
            );
        }
        self.record(setting, internal.to_string().into(), None, place);
        Some(internal)
    }

    fn next_hops(&mut self) -> NextHops {
        let setting = &settings::NEXT_HOP;
        let mut next_hops = NextHops::new();
        for (hop, place) in self
            .all(setting, |value| values::next_hop(&value.text))
            .unwrap_or_default()
        {
            self.add_next_hop(&mut next_hops, hop, place, setting);
        }
        next_hops
    }

    fn topology(&mut self) -> Option<(Topology, Place)> {
        let setting = &settings::TOPOLOGY;
        let file: Option<(PathBuf, Place)> = self.one(setting, |value| Ok(resolve_path(value)));
        let Some((file, place)) = file else {
            self.record(setting, Value::Null, None, Place::Default);
            return None;
        };
        match topology::read(&file) {
            Ok(topology) => {
                let interfaces = match topology.next_hops.len() {
                    1 => "1 interface".to_owned(),
                    count => format!("{count} interfaces"),
                };
                let note = format!("{} with {interfaces}", topology.isd_as);
                self.record(
                    setting,
                    file.display().to_string().into(),
                    Some(note),
                    place,
                );
                Some((topology, Place::File(file.into())))
            }
            Err(problems) => {
                self.report_problems_of(&file, problems, setting, &place);
                // Its content is unknown, not missing.
                self.raw.mark_invalid(setting);
                None
            }
        }
    }

    /// Removes the routers that `internal` cannot reach, with a warning for each of their interfaces. Leaves them, as
    /// errors, if there is no other router.
    fn leave_out_unreachable(
        &mut self,
        internal: SocketAddr,
        configured: &NextHops,
        topology: &mut Topology,
        place: &Place,
    ) {
        let mut unreachable = BTreeMap::new();
        let mut reachable = BTreeMap::new();
        for (&interface, &router) in &topology.next_hops {
            let reason = if router.is_ipv4() != internal.is_ipv4() {
                "one is IPv4, the other IPv6"
            } else if values::is_without_scope(router) {
                "a link-local address without interface can be on any link"
            } else {
                reachable.insert(interface, router);
                continue;
            };
            unreachable.insert(interface, (router, reason));
        }
        if reachable.is_empty() && configured.is_empty() {
            return;
        }
        for (interface, (router, reason)) in unreachable {
            self.warnings.push(Warning::UnreachableRouter {
                place: place.clone(),
                internal,
                router,
                interface: format!("{}#{interface}", topology.isd_as),
                reason,
            });
        }
        topology.next_hops = reachable;
    }

    fn merge(&mut self, next_hops: &mut NextHops, topology: &Topology, place: &Place) {
        for (&interface, &address) in &topology.next_hops {
            let known = next_hops.get(&(topology.isd_as, interface));
            if known.is_none_or(|(known, _)| *known != address) {
                let hop = NextHop {
                    isd_as: topology.isd_as,
                    interface,
                    address,
                };
                self.add_next_hop(next_hops, hop, place.clone(), &settings::TOPOLOGY);
            }
        }
    }

    fn add_next_hop(
        &mut self,
        next_hops: &mut NextHops,
        hop: NextHop,
        place: Place,
        setting: &'static Setting,
    ) {
        let NextHop {
            isd_as,
            interface,
            address,
        } = hop;
        match next_hops.get(&(isd_as, interface)) {
            None => {
                next_hops.insert((isd_as, interface), (address, place));
            }
            Some((other, _)) if *other == address => {
                let fault = Fault::Duplicate(format!("{isd_as}#{interface}"));
                self.report(Some(place), setting, fault);
            }
            Some((other, other_place)) => {
                let (other, other_place) = (*other, other_place.clone());
                let fault = Fault::NextHopConflict {
                    isd_as,
                    interface,
                    address,
                    other,
                    other_place,
                };
                self.report(Some(place), setting, fault);
            }
        }
    }

    /// Records the next hops with the source of the configured ones. A note has those of the topology beside them.
    fn record_next_hops(&mut self, next_hops: &NextHops, topology: Option<&Place>) {
        let table = next_hops
            .iter()
            .map(|((isd_as, interface), (address, _))| {
                (format!("{isd_as}#{interface}"), address.to_string().into())
            })
            .collect();
        let is_of_topology = |place: &Place| topology == Some(place);
        let mut places = next_hops.values().map(|(_, place)| place);
        let configured = places.clone().find(|place| !is_of_topology(place));
        let place = configured.or_else(|| places.next());
        let place = place.map_or(Place::Default, Place::clone);
        let of_topology: Vec<String> = next_hops
            .iter()
            .filter(|(_, (_, place))| is_of_topology(place))
            .map(|((isd_as, interface), _)| format!("{isd_as}#{interface}"))
            .collect();
        let note = topology
            .filter(|_| configured.is_some() && !of_topology.is_empty())
            .map(|topology| format!("{topology}: {}", of_topology.join(", ")));
        self.record(&settings::NEXT_HOP, Value::Object(table), note, place);
    }

    fn local_isd_as(
        &mut self,
        next_hops: &NextHops,
        topology: Option<&(Topology, Place)>,
    ) -> Option<Vec<IsdAs>> {
        let setting = &settings::LOCAL_ISD_AS;
        let configured = self
            .all(setting, |value| values::isd_as(&value.text))
            .unwrap_or_default();
        self.report_duplicates(setting, &configured);
        let place = first_place(&configured);
        let mut local: Vec<IsdAs> = configured.into_iter().map(|(isd_as, _)| isd_as).collect();
        let is_derived = local.is_empty();
        if is_derived && !self.is_invalid(setting) {
            local.extend(next_hops.keys().map(|(isd_as, _)| *isd_as));
            local.extend(topology.map(|(topology, _)| topology.isd_as));
            local.sort_unstable();
            local.dedup();
            self.warn_of_two_ases(next_hops, topology);
        }
        if local.is_empty() {
            let sources = [setting, &settings::NEXT_HOP, &settings::TOPOLOGY];
            if self.is_whole && !sources.iter().any(|setting| self.is_invalid(setting)) {
                self.problems.push(Problem {
                    place: None,
                    setting: None,
                    fault: Fault::NoLocalIsdAs,
                });
            }
            return None;
        }
        for ((isd_as, _), (_, place)) in next_hops {
            if !local.contains(isd_as) && !self.is_invalid(setting) {
                let local = local
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(", ");
                let isd_as = *isd_as;
                if topology.is_none_or(|(_, topology)| topology != place) {
                    let fault = Fault::NextHopOfForeignAs { isd_as, local };
                    self.report(Some(place.clone()), &settings::NEXT_HOP, fault);
                } else {
                    let fault = Fault::TopologyOfForeignAs { isd_as, local };
                    // Once, not for each of its interfaces.
                    if self.problems.iter().all(|problem| problem.fault != fault) {
                        self.report(Some(place.clone()), &settings::TOPOLOGY, fault);
                    }
                }
            }
        }
        let note = is_derived.then(|| "from the next hops and the topology".to_owned());
        self.record(setting, strings(&local), note, place);
        Some(local)
    }

    /// Warns if the AS of a next hop is another than that of the topology.
    fn warn_of_two_ases(&mut self, next_hops: &NextHops, topology: Option<&(Topology, Place)>) {
        let Some((topology, place)) = topology else {
            return;
        };
        let other = next_hops
            .iter()
            .find(|((isd_as, _), _)| *isd_as != topology.isd_as);
        if let Some(((of_next_hop, _), (_, next_hop))) = other {
            self.warnings.push(Warning::TwoLocalAses {
                of_topology: topology.isd_as,
                topology: place.clone(),
                of_next_hop: *of_next_hop,
                next_hop: next_hop.clone(),
            });
        }
    }

    fn local_prefixes(&mut self) -> Vec<(IpNet, Place)> {
        let setting = &settings::LOCAL_PREFIX;
        let prefixes = self
            .all(setting, |value| values::prefix(&value.text))
            .unwrap_or_default();
        self.report_duplicates(setting, &prefixes);
        let names: Vec<&IpNet> = prefixes.iter().map(|(prefix, _)| prefix).collect();
        self.record(setting, strings(&names), None, first_place(&prefixes));
        prefixes
    }

    fn internal_from(&mut self) -> InternalSources {
        let setting = &settings::INTERNAL_FROM;
        let sources = self
            .all(setting, |value| values::prefix_or_any(&value.text))
            .unwrap_or_default();
        let any = sources.iter().find(|(source, _)| source.is_none());
        if let Some((_, place)) = any {
            let place = place.clone();
            if sources.len() > 1 {
                self.report(Some(place.clone()), setting, Fault::AnyBesidePrefixes);
            }
            self.record(setting, strings(&["any"]), None, place);
            return InternalSources::Any;
        }
        let prefixes: Vec<(IpNet, Place)> = sources
            .into_iter()
            .filter_map(|(prefix, place)| Some((prefix?, place)))
            .collect();
        self.report_duplicates(setting, &prefixes);
        let names: Vec<&IpNet> = prefixes.iter().map(|(prefix, _)| prefix).collect();
        self.record(setting, strings(&names), None, first_place(&prefixes));
        InternalSources::Prefixes(prefixes)
    }

    fn check_reachable(&mut self, internal: SocketAddr, next_hops: &NextHops) {
        for (&(isd_as, interface), (address, place)) in next_hops {
            let fault = if *address == internal {
                Fault::NextHopIsInternal {
                    isd_as,
                    interface,
                    address: *address,
                }
            } else if values::is_without_scope(*address) {
                Fault::NoScope(*address)
            } else if address.is_ipv4() != internal.is_ipv4() {
                Fault::FamilyMismatch {
                    what: format!("the router {address} of {isd_as}#{interface}"),
                    internal,
                }
            } else {
                continue;
            };
            self.report(Some(place.clone()), &settings::NEXT_HOP, fault);
        }
    }

    fn check_families(
        &mut self,
        internal: SocketAddr,
        setting: &'static Setting,
        prefixes: &[(IpNet, Place)],
    ) {
        for (prefix, place) in prefixes {
            if matches!(prefix.addr(), IpAddr::V4(_)) != internal.is_ipv4() {
                let fault = Fault::FamilyMismatch {
                    what: prefix.to_string(),
                    internal,
                };
                self.report(Some(place.clone()), setting, fault);
            }
        }
    }

    fn report_duplicates<T: PartialEq + ToString>(
        &mut self,
        setting: &'static Setting,
        values: &[(T, Place)],
    ) {
        for (index, (value, place)) in values.iter().enumerate() {
            if values
                .iter()
                .take(index)
                .any(|(earlier, _)| earlier == value)
            {
                self.report(
                    Some(place.clone()),
                    setting,
                    Fault::Duplicate(value.to_string()),
                );
            }
        }
    }
}
