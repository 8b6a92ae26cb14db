//! Start and end of a control plane.

use std::convert::Infallible;
use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;
use snapgate_control::Claims;
use snapgate_control::rpc::{
    ControlPlane, ControlSettings, EndhostApiSettings, Follow, Refusal, Registrations, Tokens,
};

use crate::support::*;

fn refused(change: impl FnOnce(&mut ControlSettings)) -> String {
    let mut settings = settings();
    change(&mut settings);
    let backend = Arc::new(Backend::default());
    let tokens = Arc::clone(&backend) as Arc<dyn Tokens>;
    let registrations = backend as Arc<dyn Registrations>;
    let started = ControlPlane::start(&settings, tokens, registrations);
    started.unwrap_err().to_string()
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let error = refused(|settings| settings.listen.clear());
    assert!(error.contains("an address to listen on"), "{error}");
    let error = refused(|settings| settings.isd_ases.clear());
    assert!(error.contains("ISD-AS"), "{error}");
    let error = refused(|settings| settings.data_plane = vec!["0.0.0.0:1".parse().unwrap()]);
    assert!(error.contains("0.0.0.0:1"), "{error}");
    let error = refused(|settings| settings.listen = vec!["0.0.0.0:0".parse().unwrap()]);
    assert!(error.contains("give its URL"), "{error}");
    let error = refused(|settings| settings.urls = vec!["snap.test".to_owned()]);
    assert!(error.contains("http://"), "{error}");
    let error = refused(|settings| {
        settings.endhost_api = Some(EndhostApiSettings::new("endhost.test"));
    });
    assert!(error.contains("endhost.test is not a URL"), "{error}");
}

#[test]
fn an_address_in_use_is_an_error() {
    let running = Running::with(|_| ());
    let address = running.address();
    let error = refused(|settings| settings.listen = vec![address]);
    assert!(error.contains(&address.to_string()), "{error}");
}

#[test]
fn all_listen_addresses_are_served() {
    let running = Running::with(|settings| {
        settings.listen.push(([127, 0, 0, 2], 0).into());
    });
    assert_eq!(running.plane.addresses().len(), 2);
    for &address in running.plane.addresses() {
        let request = rpc(LIST_UNDERLAYS).body(body_of(b"")).unwrap();
        assert_eq!(send_to(address, request).status, 200);
    }
}

#[test]
fn a_control_plane_that_was_dropped_has_left_its_address() {
    let running = Running::with(|_| ());
    let address = running.address();
    let idle = running.connect();
    assert!(running.is_serving());
    let failures = running.plane.failures().clone();
    drop(running);
    assert!(TcpStream::connect(address).is_err());
    assert!(is_closed(&idle));
    assert!(failures.recv().is_err(), "no failure");
    assert!(Running::with(|settings| settings.listen = vec![address]).is_serving());
}

#[test]
fn answers_in_progress_are_sent_before_the_end() {
    let running = Running::with(|settings| settings.limits.closing_time = PATIENCE);
    running.backend.hold();
    let address = running.address();
    let backend = Arc::clone(&running.backend);
    thread::scope(|scope| {
        let answer = scope.spawn(move || {
            let body = body_of(&registration(&[9; 32]));
            send_to(address, rpc(REGISTER).body(body).unwrap()).status
        });
        backend.wait_for_begun(1);
        let end = scope.spawn(move || drop(running));
        // New connections are refused from the begin of the end.
        wait_until("the end has begun", || TcpStream::connect(address).is_err());
        backend.release();
        assert_eq!(answer.join().unwrap(), 200);
        end.join().unwrap();
    });
}

#[test]
fn a_registration_that_hangs_does_not_keep_the_control_plane_from_ending() {
    let running = Running::with(|_| ());
    running.backend.hold();
    let address = running.address();
    let backend = Arc::clone(&running.backend);
    let client = thread::spawn(move || {
        block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let body = body_of(&registration(&[9; 32]));
            let request = rpc(REGISTER).body(body).unwrap();
            Http1::new(stream).await.try_send(request).await.is_err()
        })
    });
    backend.wait_for_begun(1);
    drop(running);
    assert!(client.join().unwrap(), "no answer");
    backend.release();
}

/// Tokens whose keys cannot be kept current.
struct FailingTokens(Backend);

impl Tokens for FailingTokens {
    fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, Refusal> {
        self.0.verify(token, now)
    }

    fn follow(self: Arc<Self>) -> Follow {
        async fn fail() -> Infallible {
            std::panic::resume_unwind(Box::new("no keys"))
        }
        Box::pin(fail())
    }
}

#[test]
fn a_background_task_that_panics_is_a_failure_of_the_control_plane() {
    let tokens = Arc::new(FailingTokens(Backend::default()));
    let registrations = Arc::new(Backend::default());
    let plane = ControlPlane::start(&settings(), tokens, registrations).unwrap();
    let failure = plane.failures().recv_timeout(PATIENCE).unwrap();
    let expected = "the task that refreshes the keys of tokens panicked: no keys";
    assert_eq!(failure.reason, expected);
}

/// Nice values of the threads of this process with this name.
fn nice_values(name: &str) -> Vec<i32> {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let nice_value = |thread: fs::DirEntry| {
        // The thread may have ended.
        let stat = fs::read_to_string(thread.path().join("stat")).ok()?;
        let (begin, fields) = stat.rsplit_once(") ")?;
        let (_, comm) = begin.split_once(" (")?;
        // Field 19 of proc_pid_stat(5), the third of which is the first one here.
        let nice = fields.split(' ').nth(16)?.parse().unwrap();
        (comm == name).then_some(nice)
    };
    threads.flatten().filter_map(nice_value).collect()
}

#[test]
fn threads_of_the_control_plane_have_a_lower_priority_than_those_of_the_data_plane() {
    let running = Running::with(|_| ());
    assert_eq!(running.call(REGISTER, &registration(&[9; 32])).status, 200);
    let expected = rustix::process::getpriority_process(None).unwrap() + 5;
    for name in ["control", "control-block"] {
        // Threads of other tests may just have been started.
        let values = nice_values(name);
        assert!(values.contains(&expected), "{name}: {values:?}");
    }
}
