//! Real Envoys that decide by themselves on what they are lent: never more than the
//! limit over all of them, whatever happens to them and to the service.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    fixtures::{Envoy, Service, get},
    harness::{Server, free_port},
    support::Dice,
};

/// A request that was let through.
#[derive(Debug, Clone, Copy)]
struct Passed {
    sent: Instant,
    heard: Instant,
    envoy: usize,
}

/// Clients that ask Envoys by their place, without end.
struct Crowd {
    /// The port of each Envoy; 0 while it has none.
    ports: Vec<AtomicU16>,
    passed: Mutex<Vec<Passed>>,
    stop: AtomicBool,
}

impl Crowd {
    fn of(envoys: usize) -> Self {
        Self {
            ports: (0..envoys).map(|_| AtomicU16::new(0)).collect(),
            passed: Mutex::default(),
            stop: AtomicBool::new(false),
        }
    }

    /// Asks one of them again and again.
    fn ask(&self, envoy: usize, pause: Duration) {
        while !self.stop.load(Relaxed) {
            let port = self.ports[envoy].load(Relaxed);
            if port != 0 {
                let sent = Instant::now();
                let status = get(port, "/", &[("x-a", "1")]).status;
                let heard = Instant::now();
                assert!([0, 200, 429].contains(&status), "{status}");
                if status == 200 {
                    self.passed.lock().unwrap().push(Passed { sent, heard, envoy });
                }
            }
            thread::sleep(pause);
        }
    }

    fn passed(&self) -> Vec<Passed> {
        let mut all = self.passed.lock().unwrap().clone();
        all.sort_by_key(|one| one.sent);
        all
    }
}

/// The most that surely passed within one period: sent in it, and heard in it.
fn most(passed: &[Passed], period: Duration) -> usize {
    let within = |first: &Passed| {
        passed.iter().filter(|one| one.sent >= first.sent && one.heard < first.sent + period).count()
    };
    passed.iter().map(within).max().unwrap_or(0)
}

fn service(redis: &Server, port: u16, limits: &str) -> Service {
    let config = format!("domain: edge\ndescriptors:\n  - {{key: a, limits: '{limits}'}}\n");
    Service::with(redis, &config, &["--listen", &format!("127.0.0.1:{port}")])
}

#[test]
fn one_envoy_uses_most_of_its_limit_and_never_more() {
    let redis = Server::start();
    let service = service(&redis, free_port(), "20/s");
    let envoy = Envoy::borrowing(service.grpc());
    let crowd = Crowd::of(1);
    crowd.ports[0].store(envoy.port(), Relaxed);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| crowd.ask(0, Duration::from_millis(10)));
        }
        thread::sleep(Duration::from_secs(14));
        crowd.stop.store(true, Relaxed);
    });
    let passed = crowd.passed();
    assert!(most(&passed, Duration::from_secs(1)) <= 20);
    let of_the_limit = passed.len() * 100 / (14 * 20);
    println!("one Envoy used {of_the_limit} % of its limit");
    assert!(of_the_limit >= 60, "{of_the_limit} %");
}

#[test]
fn units_of_a_long_period_are_spent_once() {
    let redis = Server::start();
    let service = service(&redis, free_port(), "200/h");
    let envoys = [Envoy::borrowing(service.grpc()), Envoy::borrowing(service.grpc())];
    let crowd = Crowd::of(2);
    thread::scope(|scope| {
        for (at, envoy) in envoys.iter().enumerate() {
            crowd.ports[at].store(envoy.port(), Relaxed);
            scope.spawn({
                let crowd = &crowd;
                move || crowd.ask(at, Duration::from_millis(20))
            });
        }
        thread::sleep(Duration::from_secs(40));
        crowd.stop.store(true, Relaxed);
    });
    let passed = crowd.passed().len();
    let used = redis.line("RL.QUOTA envoy:{edge}:a=1 200/h").items()[0].field("used").int() as usize;
    println!("{passed} of 200 were used in 40 s, {used} are charged");
    assert!(passed <= 200 && passed <= used && used <= 200, "{passed} passed, {used} charged");
    assert!(passed >= 100, "{passed}");
}

const LIMIT: usize = 60;
const PERIOD: Duration = Duration::from_secs(10);

#[test]
fn four_envoys_started_killed_and_frozen_at_random() {
    let redis = Server::start();
    let port = free_port();
    let mut service_now = service(&redis, port, "60/10s");
    let crowd = Crowd::of(4);
    let mut envoys: Vec<Option<Envoy>> = Vec::new();
    for at in 0..4 {
        let envoy = Envoy::borrowing(port);
        crowd.ports[at].store(envoy.port(), Relaxed);
        envoys.push(Some(envoy));
    }
    let mut dice = Dice::told();
    thread::scope(|scope| {
        for at in 0..4 {
            scope.spawn({
                let crowd = &crowd;
                move || crowd.ask(at, Duration::from_millis(50))
            });
        }
        // Until all have their part, and then a while of calm.
        thread::sleep(Duration::from_secs(40));
        let calm = Instant::now();
        thread::sleep(Duration::from_secs(20));
        let in_calm: Vec<Passed> = crowd.passed().into_iter().filter(|one| one.sent >= calm).collect();
        let parts: Vec<usize> =
            (0..4).map(|at| in_calm.iter().filter(|one| one.envoy == at).count()).collect();
        let of_the_limit = in_calm.len() * 100 / (2 * LIMIT);
        println!("in 20 s four Envoys used {parts:?}, together {of_the_limit} % of the limit");
        let (least, largest) = (parts.iter().min().unwrap(), parts.iter().max().unwrap());
        assert!(of_the_limit >= 60 && least * 2 >= *largest, "{parts:?}, {of_the_limit} %");

        let chaos = Instant::now();
        let mut frozen: Vec<(usize, Instant)> = Vec::new();
        let mut done = [0; 5];
        while chaos.elapsed() < Duration::from_secs(75) {
            let at = dice.below(4) as usize;
            let is_frozen = frozen.iter().any(|(one, _)| *one == at);
            match dice.below(8) {
                0 | 1 if !is_frozen => {
                    crowd.ports[at].store(0, Relaxed);
                    envoys[at] = None;
                    done[0] += 1;
                }
                2..=4 if !is_frozen => {
                    if let Some(envoy) = &envoys[at] {
                        envoy.signal("STOP");
                        let length = [2, 8, 18, 30][dice.below(4) as usize];
                        frozen.push((at, Instant::now() + Duration::from_secs(length)));
                        done[1] += 1;
                    }
                }
                5 => {
                    // Streams end in order, and begin anew.
                    service_now.signal("TERM");
                    service_now.wait_exit();
                    service_now = service(&redis, port, "60/10s");
                    done[2] += 1;
                }
                6 => {
                    service_now.signal("KILL");
                    service_now.wait_exit();
                    service_now = service(&redis, port, "60/10s");
                    done[3] += 1;
                }
                _ => {}
            }
            if let Some(gone) = envoys.iter().position(Option::is_none) {
                let envoy = Envoy::borrowing(port);
                crowd.ports[gone].store(envoy.port(), Relaxed);
                envoys[gone] = Some(envoy);
                done[4] += 1;
            }
            thread::sleep(Duration::from_secs(1 + dice.below(3)));
            frozen.retain(|(at, until)| {
                let over = *until <= Instant::now();
                if let Some(envoy) = envoys[*at].as_ref().filter(|_| over) {
                    envoy.signal("CONT");
                }
                !over
            });
        }
        for (at, _) in frozen {
            envoys[at].as_ref().unwrap().signal("CONT");
        }
        let [killed, stopped, ended, broken, started] = done;
        println!(
            "{killed} Envoys killed, {started} started, {stopped} frozen; the service stopped {ended} times, \
             killed {broken} times"
        );
        crowd.stop.store(true, Relaxed);
    });
    let passed = crowd.passed();
    let most = most(&passed, PERIOD);
    println!("{} requests passed, at most {most} of {LIMIT} in any {} s", passed.len(), PERIOD.as_secs());
    assert!(most <= LIMIT, "{most} in {PERIOD:?}");
}
