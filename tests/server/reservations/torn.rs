//! A retried RL.RESERVE over several keys of which some have lost the reservation.

use crate::harness::{Reply, Server, T0, assert_same_data, wait_synced};
use crate::limits::fixtures::acquire;
use crate::support::denied;

const RESERVE: &str = "RL.RESERVE 2 k1 10/m k2 1/m TTL 1m ID a";

fn granted_units(reply: &Reply) -> Vec<i64> {
    reply[1].items().iter().map(|key| key.rate_limit().granted).collect()
}

/// On one server, so that its keys go together; a replica hears of all as one.
fn pair() -> (Server, Server) {
    let server = Server::at_t0();
    let replica = server.replica();
    (server, replica)
}

#[track_caller]
fn same(server: &Server, replica: &Server) {
    wait_synced(server, replica);
    assert_same_data(server, replica);
}

#[test]
fn what_is_still_open_goes_back_also_when_the_retry_is_denied() {
    let (server, replica) = pair();
    assert_eq!(server.line(RESERVE)[0], Reply::bulk("a"));
    server.line("RL.RESET k2");
    assert_eq!(acquire(&server, "k2 1/m").granted, 1);
    let denial = server.line(RESERVE);
    assert!(denial[0].is_nil(), "{denial:?}");
    // What it says of the first key is true once the units are back.
    assert_eq!(denial[1][0].rate_limit(), denied().remaining(10).by_another_item());
    assert_eq!(denial[1][1].rate_limit(), denied());
    assert_eq!(server.line("RL.RESERVATIONS k1"), Reply::Array(vec![]));
    assert_eq!(acquire(&server, "k1 10/m COST 10").granted, 10);
    assert_eq!(server.line("RL.RELEASE a 2 k1 k2"), Reply::Int(0));
    same(&server, &replica);
}

#[test]
fn the_retry_is_decided_on_what_has_come_back() {
    let (server, replica) = pair();
    let reserve = "RL.RESERVE 3 k1 10/m,concurrent:1 k2 10/m k3 10/m COST 10 TTL 1m ID a";
    assert_eq!(granted_units(&server.line(reserve)), [10, 10, 10]);
    // All hold it: the same reservation.
    assert_eq!(granted_units(&server.line(reserve)), [10, 10, 10]);
    server.line("DEL k2");
    server.clock_advance(1_000_000);
    // It would not fit beside itself.
    assert_eq!(granted_units(&server.line(reserve)), [10, 10, 10]);
    for key in ["k1", "k2", "k3"] {
        let open = server.line(&format!("RL.RESERVATIONS {key}"));
        assert_eq!(open.items().len(), 1, "{key}");
        // Begun anew.
        assert_eq!([open[0][2].int(), open[0][3].int()], [0, 60_000]);
        assert_eq!(server.line(&format!("RL.QUOTA {key} 10/m"))[0].field("used"), Reply::Int(10));
    }
    same(&server, &replica);
    assert_eq!(server.line("RL.RELEASE a 3 k1 k2 k3"), Reply::Int(1));
    assert_eq!(server.line("EXISTS k1 k2 k3"), Reply::Int(0));
    same(&server, &replica);
}

#[test]
fn other_limits_and_another_cost_are_decided_anew() {
    let (server, replica) = pair();
    server.line("RL.RESERVE 2 k1 10/m k2 10/m COST 4 TTL 1m ID a");
    server.line("RL.RELEASE a 1 k2");
    let reply = server.line("RL.RESERVE 2 k1 9/h k2 10/m COST 6 TTL 1m ID a");
    assert_eq!(granted_units(&reply), [6, 6]);
    assert_eq!(server.line("RL.QUOTA k1 10/m,9/h")[0].field("used"), Reply::Int(0));
    assert_eq!(server.line("RL.RESERVATIONS k1")[0][1], Reply::Int(6));
    same(&server, &replica);
}

#[test]
fn what_has_ended_stays_charged() {
    let (server, replica) = pair();
    server.line("RL.RESERVE 2 k1 10/m k2 10/m COST 4 TTL 10s ID a");
    server.line("RL.RENEW a TTL 30s 1 k2");
    server.clock_advance(10_000_000);
    // On k1 it has ended, on k2 it is open.
    let reply = server.line("RL.RESERVE 2 k1 10/m k2 10/m COST 4 TTL 10s ID a");
    assert_eq!(granted_units(&reply), [4, 4]);
    assert_eq!(server.line("RL.QUOTA k1 10/m")[0].field("used"), Reply::Int(8));
    assert_eq!(server.line("RL.QUOTA k2 10/m")[0].field("used"), Reply::Int(4));
    same(&server, &replica);
}

#[test]
fn an_error_changes_nothing() {
    let (server, replica) = pair();
    server.line("RL.RESERVE 2 k1 10/m k2 10/m TTL 10s ID a");
    server.line("RL.RELEASE a 1 k2");
    let before = server.line("DEBUG DIGEST-VALUE k1");
    for command in [
        "RL.RESERVE 3 k1 10/m k2 10/m k3 @gone TTL 1m ID a",
        "RL.RESERVE 2 k1 10/m k2 10/ TTL 1m ID a",
        "RL.RESERVE 2 k1 10/m k2 10/m TTL 0 ID a",
    ] {
        assert!(matches!(server.line(command), Reply::Error(_)), "{command}");
    }
    server.line("SET s x");
    assert!(matches!(server.line("RL.RESERVE 2 k1 10/m s 10/m TTL 1m ID a"), Reply::Error(_)));
    assert_eq!(server.line("DEBUG DIGEST-VALUE k1"), before);
    assert_eq!(server.line("RL.RESERVATIONS k1").items().len(), 1);
    same(&server, &replica);
}

/// Whoever waits for what the lost part held is served.
#[test]
fn a_line_moves_when_it_goes_back() {
    let server = Server::at_t0();
    server.line("RL.RESERVE 2 k1 concurrent:1 k2 1/m TTL 1m ID a");
    let mut waiter =
        crate::queue::fixtures::waits(&server, "RL.RESERVE 1 k1 concurrent:1 TTL 1m ID b WAIT 30s");
    server.line("RL.RESET k2");
    assert_eq!(acquire(&server, "k2 1/m").granted, 1);
    assert!(server.line("RL.RESERVE 2 k1 concurrent:1 k2 1/m TTL 1m ID a")[0].is_nil());
    assert_eq!(waiter.read()[0], Reply::bulk("b"));
    server.clock_set(T0);
}

#[test]
fn what_one_key_has_lost_is_renewed_on_none() {
    let (server, replica) = pair();
    server.line("RL.RESERVE 2 k1 concurrent:1 k2 concurrent:1 TTL 1m ID a");
    assert_eq!(server.line("RL.RENEW a TTL 2m 2 k1 k2"), Reply::Int(1));
    server.line("RL.RESET k2");
    assert_eq!(server.line("RL.RESERVE 1 k2 concurrent:1,10/h TTL 1m ID b")[0], Reply::bulk("b"));
    assert_eq!(server.line("RL.RENEW a TTL 3m 2 k1 k2"), Reply::Int(0), "its holder has k1 alone");
    assert_eq!(server.line("RL.RESERVATIONS k1")[0][3], Reply::Int(120_000));
    assert_eq!(server.line("RL.RENEW a TTL 3m 1 k1"), Reply::Int(1));
    server.clock_advance(60_000_000);
    assert_eq!(server.line("RL.RENEW b TTL 1m 1 k2"), Reply::Int(2), "its time had ended");
    same(&server, &replica);
}
