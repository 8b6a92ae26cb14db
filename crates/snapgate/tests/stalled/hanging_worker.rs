//! A worker that hangs beside one that does not.

use std::time::Duration;

use testkit::{Client, identity, wait_until};

use crate::end::{Frozen, thread_named};
use crate::gateway;

const CLIENTS: usize = 20;

/// Time in which the test looks for an answer before it looks for the next client's.
const LOOK: Duration = Duration::from_millis(5);

/// Moves the clients that have received an answer from `waiting` to `served`.
fn receive(waiting: &mut Vec<Client>, served: &mut Vec<Client>) {
    for mut client in std::mem::take(waiting) {
        match client.receive_within(LOOK) {
            Some(answer) => {
                assert_eq!(answer, b"there and back");
                served.push(client);
            }
            None => waiting.push(client),
        }
    }
}

#[test]
fn a_hanging_worker_costs_only_its_clients_and_shows_in_livez() {
    let gateway = gateway().workers(2).start();
    let mut waiting: Vec<_> = (0..CLIENTS).map(|_| gateway.connect(&identity())).collect();
    let metrics = gateway.wait_for_metrics("all tunnels", |metrics| {
        metrics.sum("snapgate_tunnels") == CLIENTS as u64
    });
    let of_other_worker = metrics.get("snapgate_tunnels{worker=\"1\"}") as usize;
    let Some(frozen) = Frozen::freeze(thread_named(&gateway, "worker-0")) else {
        return;
    };
    for client in &mut waiting {
        client.send(b"there and back");
    }
    let mut served = Vec::new();
    wait_until("answers of the other worker", || {
        receive(&mut waiting, &mut served);
        (served.len() >= of_other_worker).then_some(())
    });
    let reason = wait_until("a probe that fails", || {
        let (status, reason) = gateway.get("/livez");
        (status == 503).then_some(reason)
    });
    assert_eq!(reason, "workers without a turn for 5s: [0]\n");
    receive(&mut waiting, &mut served);
    assert_eq!(served.len(), of_other_worker);

    drop(frozen);
    wait_until("answers of the worker", || {
        receive(&mut waiting, &mut served);
        waiting.is_empty().then_some(())
    });
    wait_until("a probe that succeeds", || {
        (gateway.get("/livez").0 == 200).then_some(())
    });
}
