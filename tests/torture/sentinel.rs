//! A failover by real sentinels, and a client that follows it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use redis::sentinel::{SentinelClient, SentinelServerType};

use crate::{
    harness::{Reply, SENTINEL_NAME, Sentinels, Server, Wire, assert_same_data, eventually, wait_synced},
    load::LIMITS,
    size::{record, tries},
};

/// What the client was granted, and what perhaps.
#[derive(Debug, Default)]
struct Tally {
    granted: AtomicI64,
    unknown: AtomicI64,
}

/// Takes a unit at a time from whoever the sentinels call master.
fn follow(ports: &[u16], tally: &Tally, stop: &AtomicBool) {
    let addresses = ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect();
    // With its TLS the library takes any text, without it this type.
    let name = String::from(SENTINEL_NAME);
    let mut client = SentinelClient::build(addresses, name, None, SentinelServerType::Master)
        .expect("addresses of sentinels");
    while !stop.load(Ordering::Relaxed) {
        // While there is no master to be had, the client asks again.
        let Ok(mut connection) = client.get_connection() else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let patience = Some(Duration::from_secs(2));
        connection.set_read_timeout(patience).expect("a timeout above 0");
        while !stop.load(Ordering::Relaxed) {
            let mut take = redis::cmd("RL.ACQUIRE");
            let reply: redis::RedisResult<Vec<i64>> = take.arg("user").arg(LIMITS).query(&mut connection);
            match reply {
                Ok(six) => drop(tally.granted.fetch_add(six[0], Ordering::Relaxed)),
                // Refused: nothing was taken. A replica that is not yet promoted.
                Err(error) if error.code().is_some() => {
                    thread::sleep(Duration::from_millis(20));
                    break;
                }
                Err(_) => {
                    tally.unknown.fetch_add(1, Ordering::Relaxed);
                    break;
                }
            }
        }
    }
}

/// The role that a server says it has. Sentinels close the connections of the
/// clients of a server whose role they change.
fn has_role(server: &Server, role: &str) -> bool {
    let Ok(mut wire) = Wire::connect(server.port()) else { return false };
    let answer = wire.try_send(&["ROLE"]).and_then(|()| wire.try_read(Duration::from_secs(5)));
    matches!(answer, Ok(Some(Reply::Array(items))) if items[0] == Reply::bulk(role))
}

fn used(server: &Server) -> i64 {
    server.line("RL.QUOTA user")[0].field("used").int()
}

/// The master is killed again and again; sentinels promote its replica, the
/// client goes on there, and the old master comes back as a replica. No more is
/// used than was granted; what was on its way to the replica is lost, and
/// counted.
#[test]
fn sentinels_promote_a_replica_that_goes_on() {
    let failovers = tries(1, 10);
    let mut servers = [Server::start(), Server::start()];
    servers[1].follow(&servers[0]);
    let sentinels = Sentinels::watch(&servers[0], 1, 3);
    let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
    let client = {
        let (ports, tally, stop) = (sentinels.ports.clone(), Arc::clone(&tally), Arc::clone(&stop));
        thread::spawn(move || follow(&ports, &tally, &stop))
    };
    let (mut longest, begun) = (Duration::ZERO, Instant::now());
    for round in 0..failovers {
        let (old, new) = (round % 2, 1 - round % 2);
        let taken = || tally.granted.load(Ordering::Relaxed);
        let before = taken();
        eventually(Duration::from_secs(30), "the client takes", || taken() > before + 100);
        servers[old].kill9();
        let start = Instant::now();
        eventually(Duration::from_secs(60), "the replica is master", || {
            has_role(&servers[new], "master") && sentinels.agree_on(servers[new].port())
        });
        let before = taken();
        eventually(Duration::from_secs(30), "the client has followed", || taken() > before + 10);
        longest = longest.max(start.elapsed());
        // The sentinels turn the old master into a replica of the new one.
        servers[old].restart();
        eventually(Duration::from_secs(60), "the old master follows", || has_role(&servers[old], "slave"));
        servers.iter_mut().for_each(Server::forget_control);
        servers[old].wait_link();
    }
    stop.store(true, Ordering::Relaxed);
    client.join().expect("the client does not fail");
    let (granted, unknown) = (tally.granted.load(Ordering::Relaxed), tally.unknown.load(Ordering::Relaxed));
    let master = &servers[failovers % 2];
    let used = used(master);
    assert!(used <= granted + unknown, "{used} used, {granted} granted, {unknown} unknown");
    let lost = (granted - used).max(0);
    // A replica on a busy machine lags by some milliseconds when its master dies.
    // More than a tenth of a second would be more than its lag.
    let tenths = i64::try_from(begun.elapsed().as_millis() / 100).expect("minutes");
    let bound = 50.max(granted / tenths.max(1)) * i64::try_from(failovers).expect("few");
    assert!(lost <= bound, "{lost} of {granted} units were lost, more than {bound}");
    let replica = &servers[1 - failovers % 2];
    wait_synced(master, replica);
    assert_same_data(master, replica);
    assert_eq!(master.line("PING"), Reply::Simple("PONG".into()));
    let what = format!(
        "Sentinel failovers ({granted} units granted, client back within {:.1} s)",
        longest.as_secs_f64()
    );
    record(&what, failovers, format!("{lost} units"));
}
