//! CB.ACQUIRE … LIMIT … TTL: a bulkhead behind a breaker, in one decision.

use crate::breakers::fixtures::digest;
use crate::harness::{Reply, Server, assert_error_prefix, assert_same_data, call, wait_synced};
use crate::queue::fixtures::waits;
use crate::support::{denied, granted};

const NIL: Reply = Reply::NilBulk;

/// A call with its own id; what the fifth element says.
fn ask(server: &Server, rest: &str) -> Reply {
    server.line(&format!("CB.ACQUIRE {{t}}b 1:open=1s LIMIT {{t}}l {rest}"))
}

/// Allowed, the state, when to ask again.
fn said(reply: &Reply) -> (i64, String, i64) {
    assert_eq!(reply.items().len(), 5, "{reply:?}");
    (reply[0].int(), reply[1].text(), reply[3].int())
}

fn ids(server: &Server) -> Vec<String> {
    server.line("RL.RESERVATIONS {t}l").items().iter().map(|one| one[0].text()).collect()
}

#[test]
fn places_are_held_until_they_are_settled() {
    let server = Server::at_t0();
    let places = "concurrent:2 TTL 30s";
    let one = ask(&server, &format!("{places} ID one"));
    assert_eq!(said(&one), (1, "closed".into(), 0));
    assert_eq!((one[4].items().len(), one[4][0].text()), (2, "one".into()));
    assert_eq!(one[4][1].rate_limit(), granted(1).limit(2).remaining(1).reset_ms(30_000));
    // Without ID the server makes one.
    server.clock_advance(10_000_000);
    let two = ask(&server, places);
    assert_eq!(two[4][0].text().len(), 32);
    assert_eq!(two[4][1].rate_limit(), granted(1).limit(2).remaining(0).reset_ms(30_000));
    assert_eq!(ids(&server), ["one".to_owned(), two[4][0].text()]);

    // Full: the first place is free in 20 s, and the breaker is not asked.
    let three = ask(&server, &format!("{places} ID three"));
    assert_eq!((said(&three), &three[2]), ((0, "closed".into(), 20_000), &NIL));
    assert_eq!((three[4].items().len(), &three[4][0]), (2, &NIL));
    assert_eq!(three[4][1].rate_limit(), denied().limit(2).remaining(0).retry_ms(20_000).reset_ms(30_000));
    assert_eq!(server.counter("breaker_denied_limit"), 1);

    // As any reservation: settled, renewed, or ended by its time.
    assert_eq!(server.line("RL.RELEASE one 1 {t}l"), Reply::Int(1));
    assert_eq!(ask(&server, &format!("{places} ID three"))[4][0].text(), "three");
    assert_eq!(server.line("RL.COMMIT three 1 {t}l"), Reply::Int(1));
    assert_eq!(server.line(&format!("RL.RENEW {} TTL 1m 1 {{t}}l", two[4][0].text())), Reply::Int(1));
    ask(&server, &format!("{places} ID four"));
    server.clock_advance(30_000_000);
    assert_eq!(ids(&server), [two[4][0].text()], "four has ended, two was renewed");
    assert_eq!(server.line("RL.RELEASE four 1 {t}l"), Reply::Int(0), "it took no units: forgotten");
    server.clock_advance(30_000_000);
    assert_eq!(ids(&server), [""; 0]);
}

#[test]
fn units_are_charged_and_corrected() {
    let server = Server::at_t0();
    let used = || server.line("RL.QUOTA {t}l 100/h,concurrent:5").used();
    let reply = ask(&server, "100/h,concurrent:5 COST 40 TTL 10s ID a");
    assert_eq!(reply[4][1].rate_limit(), granted(40).limit(5).remaining(4).index(1));
    assert_eq!(used(), [40, 1]);
    assert_eq!(server.line("RL.COMMIT a 1 {t}l COST 25"), Reply::Int(1));
    assert_eq!(used(), [25, 0]);
    // One that nobody settles stays charged, and its place is free.
    ask(&server, "100/h,concurrent:5 COST 40 TTL 10s ID b");
    server.clock_advance(10_000_000);
    assert_eq!(used(), [65, 0]);
    assert_eq!(server.line("RL.COMMIT b 1 {t}l COST 0"), Reply::Int(2));
    assert_eq!(used(), [25, 0]);
    let denied = ask(&server, "100/h,concurrent:5 COST 80 TTL 10s ID c");
    assert_eq!((denied[0].int(), &denied[4][0], denied[4][1][5].int()), (0, &NIL, 0));
    assert_eq!(used(), [25, 0]);
}

#[test]
fn a_repeated_id_finds_its_reservation() {
    let server = Server::at_t0();
    let places = "concurrent:2,100/h COST 5 TTL 30s ID a";
    let first = ask(&server, places);
    let permit = first[2].text();
    server.clock_advance(1_000_000);
    let before = digest(&server, "{t}l");
    // Another cost, another TTL: it is the same reservation.
    let again = ask(&server, "concurrent:2,100/h COST 9 TTL 90s ID a");
    assert_eq!(said(&again), (1, "closed".into(), 0));
    assert_eq!((again[4][0].text(), again[4][1][0].int()), ("a".into(), 5));
    assert_eq!(digest(&server, "{t}l"), before);
    assert_eq!(server.line("RL.TOP GRANTED").items()[0].items()[1].int(), 1, "a retry is no new request");
    // Where the limit is full, too.
    ask(&server, "concurrent:2,100/h COST 5 TTL 30s ID b");
    assert_eq!(said(&ask(&server, places)), (1, "closed".into(), 0));

    // The breaker decides anew: it denies, and the reservation stands.
    server.line(&format!("CB.REPORT {{t}}b FAIL TOKEN {permit}"));
    let before = digest(&server, "{t}l");
    let denied = ask(&server, places);
    assert_eq!((said(&denied), &denied[2], &denied[4]), ((0, "open".into(), 1000), &NIL, &NIL));
    assert_eq!((digest(&server, "{t}l"), ids(&server)), (before, vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(server.line("RL.RELEASE a 1 {t}l"), Reply::Int(1));
    // Now the limit would give it a place anew, and the breaker still denies.
    assert_eq!(said(&ask(&server, places)), (0, "open".into(), 1000));
    assert_eq!(ids(&server), ["b"]);
    // A call made by RL.RESERVE finds the same ones.
    assert_eq!(server.line("RL.RESERVE 1 {t}l concurrent:2,100/h TTL 1s ID b")[0].text(), "b");
    server.clock_advance(1_000_000);
    let trial = ask(&server, "concurrent:2,100/h TTL 1s ID b");
    assert_eq!((said(&trial), trial[4][0].text()), ((1, "half-open".into(), 0), "b".into()));
    assert_eq!(said(&ask(&server, "concurrent:2,100/h TTL 1s ID b")), (0, "half-open".into(), 60_000));
}

#[test]
fn a_trial_that_the_bulkhead_denies_leaves_the_breaker_open() {
    let server = Server::at_t0();
    ask(&server, "concurrent:1 TTL 30s ID held");
    server.line("CB.REPORT {t}b FAIL");
    // Both deny: the later of both.
    let both = ask(&server, "concurrent:1 TTL 30s");
    assert_eq!((said(&both), &both[4]), ((0, "open".into(), 30_000), &NIL));
    assert_eq!(said(&ask(&server, "concurrent:1,5/h COST 6 TTL 30s")), (0, "open".into(), -1));
    server.clock_advance(1_000_000);
    let before = digest(&server, "{t}b");
    let denied = ask(&server, "concurrent:1 TTL 30s ID next");
    assert_eq!((said(&denied), &denied[2], &denied[4][0]), ((0, "open".into(), 29_000), &NIL, &NIL));
    assert_eq!(digest(&server, "{t}b"), before);
    assert_eq!(server.line("CB.STATE {t}b").field("trials_in_flight"), Reply::Int(0));
    // The place is free: the first trial.
    server.line("RL.RELEASE held 1 {t}l");
    let trial = ask(&server, "concurrent:1 TTL 30s ID next");
    assert_eq!((said(&trial), trial[4][0].text()), ((1, "half-open".into(), 0), "next".into()));
    let reply = server.line(&format!("CB.REPORT {{t}}b OK TOKEN {}", trial[2].text()));
    assert_eq!(reply[1].text(), "closed");
}

#[test]
fn critical_calls_use_what_is_kept_and_pass_a_line() {
    let server = Server::at_t0();
    for (limits, rest) in [("{t}u 4/h:keep=50%", ""), ("{t}p concurrent:4:keep=50%", "TTL 1h")] {
        let granted = |critical: &str| {
            let reply = server.line(&format!("CB.ACQUIRE {{t}}b 5 LIMIT {limits} {rest} {critical}"));
            reply[0].int()
        };
        assert_eq!([granted(""), granted(""), granted("")], [1, 1, 0], "{limits}");
        assert_eq!([granted("CRITICAL"), granted("CRITICAL"), granted("CRITICAL")], [1, 1, 0], "{limits}");
    }
    // A line stands: who is not critical goes behind it, and CB.ACQUIRE does not wait.
    server.line("RL.RESERVE 1 {t}l concurrent:2:keep=1% TTL 10s ID one");
    server.line("RL.RESERVE 1 {t}l concurrent:2:keep=1% TTL 20s ID two");
    let mut waiter = waits(&server, "RL.RESERVE 1 {t}l concurrent:2:keep=1% TTL 30s ID three WAIT 30s");
    server.line("RL.RELEASE two 1 {t}l");
    assert_eq!(waiter.read()[0].text(), "three");
    let mut waiter = waits(&server, "RL.RESERVE 1 {t}l concurrent:2 TTL 30s ID four WAIT 30s");
    let behind = ask(&server, "concurrent:3 TTL 30s ID five");
    assert_eq!((behind[0].int(), &behind[4][0], behind[4][1][5].int()), (0, &NIL, -2));
    assert_eq!(behind[3].int(), behind[4][1][3].int());
    assert_eq!(ask(&server, "concurrent:3 TTL 30s ID three")[4][0].text(), "three", "it stands already");
    assert_eq!(ask(&server, "concurrent:3 TTL 30s ID five CRITICAL")[4][0].text(), "five");
    server.line("RL.RELEASE one 1 {t}l");
    server.line("RL.RELEASE five 1 {t}l");
    assert_eq!(waiter.read()[0].text(), "four");
}

#[test]
fn a_limit_closes_itself_only_where_it_decides() {
    let server = Server::at_t0();
    let limit = "2/m:block=1h,concurrent:5 COST 2 TTL 1m";
    assert_eq!(ask(&server, &format!("{limit} ID a"))[0].int(), 1);
    server.line("CB.REPORT {t}b FAIL");
    assert_eq!(said(&ask(&server, limit)), (0, "open".into(), 60_000), "the breaker denies: no block");
    server.clock_advance(1_000_000);
    assert_eq!(server.counter("limits_closed"), 0);
    let denied = ask(&server, limit);
    assert_eq!((said(&denied), denied[4][1][3].int()), ((0, "open".into(), 3_600_000), 3_600_000));
    assert_eq!(server.counter("limits_closed"), 1);
}

/// Effects that the replica got so far.
fn effects(server: &Server, replica: &Server) -> i64 {
    wait_synced(server, replica);
    let stats = replica.info("commandstats");
    let calls = stats.get("cmdstat_rl.effect").and_then(|all| all.split(['=', ',']).nth(1)?.parse().ok());
    calls.unwrap_or(0)
}

#[test]
fn one_effect_carries_both() {
    let server = Server::at_t0();
    let replica = server.replica();
    let mut before = effects(&server, &replica);
    let mut ask = |command: &str, grows: i64| {
        let reply = server.line(command);
        let now = effects(&server, &replica);
        assert_eq!(now - before, grows, "{command}: {reply:?}");
        before = now;
        assert_same_data(&server, &replica);
        reply
    };
    let call = "CB.ACQUIRE b 1:open=1s LIMIT l concurrent:2 TTL 30s ID";
    assert_eq!(ask(&format!("{call} a"), 1)[0].int(), 1, "creates both");
    assert_eq!(ask(&format!("{call} b"), 1)[0].int(), 1, "only the limit changes");
    assert_eq!(ask(&format!("{call} b"), 0)[0].int(), 1, "the same again");
    assert_eq!(ask(&format!("{call} c"), 0)[0].int(), 0, "denied");
    ask("CB.REPORT b FAIL", 1);
    assert_eq!(ask(&format!("{call} a"), 0)[0].int(), 0, "open");
    server.clock_advance(1_000_000);
    assert_eq!(ask(&format!("{call} a"), 1)[0].int(), 1, "a trial, and a place that is held already");
    // A clock that stepped back is recorded on both, also by a denial.
    server.line("RL.RELEASE a 1 l");
    assert_eq!(ask("CB.ACQUIRE c 1 LIMIT l concurrent:2 TTL 30s ID d", 2)[0].int(), 1);
    server.clock_advance(-20_000_000);
    assert_eq!(ask("CB.ACQUIRE c 1 LIMIT l concurrent:2 TTL 30s ID e", 1)[0].int(), 0);
    assert_eq!(ask("CB.ACQUIRE c 1 LIMIT l concurrent:2 TTL 30s ID e", 0)[3].int(), 30_000);
    // In a transaction and in a script, too.
    server.line("RL.RESET l");
    let script = "return redis.call('CB.ACQUIRE', KEYS[1], '1', 'LIMIT', KEYS[2], 'concurrent:2', 'TTL', '30s', 'ID', 'f')";
    assert_eq!(call!(server, "EVAL", script, 2, "c", "l")[4][0].text(), "f");
    wait_synced(&server, &replica);
    assert_same_data(&server, &replica);
}

#[test]
fn counted_where_any_reservation_is() {
    let server = Server::builder().module_args(["enable-debug-command", "yes", "track-usage", "yes"]).start();
    server.clock_set(crate::harness::T0);
    for id in ["a", "a", "b", "c"] {
        ask(&server, &format!("concurrent:2,100/h COST 3 TTL 30s ID {id}"));
    }
    let number = |name| server.counter(name);
    assert_eq!([number("reservations_granted"), number("reservations_denied")], [2, 1]);
    assert_eq!([number("breaker_admitted"), number("breaker_denied_limit")], [3, 1]);
    assert_eq!(number("reservations_held"), 2);
    let top = |which: &str| server.line(&format!("RL.TOP {which}"))[0].items()[..2].to_vec();
    assert_eq!(top("GRANTED"), [Reply::bulk("{t}l"), Reply::Int(2)]);
    assert_eq!(top("DENIED"), [Reply::bulk("{t}l"), Reply::Int(1)]);
    let today = server.line("RL.STATS {t}l").field("today");
    assert_eq!([today.field("granted"), today.field("denied")], [Reply::Int(6), Reply::Int(3)]);
    // What the breaker denies is nothing of the limit's.
    server.line("CB.REPORT {t}b FAIL");
    ask(&server, "concurrent:2,100/h TTL 30s");
    assert_eq!(number("reservations_denied"), 1);
    assert_eq!(server.line("RL.STATS {t}l").field("today").field("denied"), Reply::Int(3));
}

#[test]
fn mistakes_take_nothing() {
    let server = Server::at_t0();
    server.line("SET text x");
    server.line("RL.RESERVE 1 l concurrent:5 TTL 1m");
    server.line("CB.ACQUIRE b 5");
    server.ok("RL.POLICY SET places concurrent:5 PREFIX db:");
    let places = "ERR invalid limit 'concurrent:5': concurrent limits need TTL here, such as TTL 30s";
    let needs_ttl = "ERR syntax error: ID needs TTL, such as TTL 30s; usage: CB.ACQUIRE ";
    let range = "ERR ID must be 1 to 128 bytes";
    let long = "x".repeat(129);
    for (command, error) in [
        ("CB.ACQUIRE n 5 LIMIT m concurrent:5", places),
        ("CB.ACQUIRE n 5 LIMIT m 5/s,concurrent:5 CRITICAL", places),
        ("CB.ACQUIRE n 5 LIMIT db:1 *", "ERR invalid limit 'concurrent:5' of the policy 'places': "),
        ("CB.ACQUIRE n 5 LIMIT m @places COST 1", "ERR invalid limit 'concurrent:5' of '@places': "),
        ("CB.ACQUIRE n 5 LIMIT m 5/s ID x", needs_ttl),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL", "ERR syntax error: TTL needs a value"),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL 1s ID", "ERR syntax error: ID needs a value"),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL 0", "ERR invalid duration '0': must be at least 1ms"),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL 30", "ERR invalid duration '30': "),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL 1s TTL 1s", "ERR syntax error: TTL is given twice"),
        ("CB.ACQUIRE n 5 LIMIT m 5/s CRITICAL CRITICAL", "ERR syntax error: CRITICAL is given twice"),
        (&format!("CB.ACQUIRE n 5 LIMIT m 5/s TTL 1s ID {long}"), range),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL 1s TRACK", "ERR syntax error near 'TRACK'"),
        ("CB.ACQUIRE n 5 LIMIT m 5/s TTL 1s WAIT 1s", "ERR syntax error near 'WAIT'"),
        ("CB.ACQUIRE n 5 TTL 1s LIMIT m 5/s", "ERR syntax error near 'TTL'"),
        ("CB.ACQUIRE n 5 LIMIT m * TTL 1s", "ERR no limits for this key"),
        ("CB.ACQUIRE n 5x LIMIT m concurrent:5 TTL 1s", "ERR invalid breaker '5x': "),
        ("CB.ACQUIRE n 5 LIMIT n concurrent:5 TTL 1s", "ERR the breaker and the limit need different keys"),
        ("CB.ACQUIRE b 5 LIMIT b concurrent:5 TTL 1s", "WRONGTYPE "),
        ("CB.ACQUIRE l 5 LIMIT l concurrent:5 TTL 1s", "WRONGTYPE "),
        ("CB.ACQUIRE n 5 LIMIT text concurrent:5 TTL 1s", "WRONGTYPE "),
        ("CB.ACQUIRE n 5 LIMIT b concurrent:5 TTL 1s", "WRONGTYPE "),
        ("CB.ACQUIRE l 5 LIMIT m concurrent:5 TTL 1s", "WRONGTYPE "),
    ] {
        assert_error_prefix(&server.line(command), error);
    }
    assert_eq!(server.line("EXISTS n m db:1"), Reply::Int(0));
    // Denied on keys that are not there: nothing is left behind.
    let denied = server.line("CB.ACQUIRE n 5 LIMIT m 5/s COST 6 TTL 1s");
    assert_eq!((said(&denied), &denied[4][0]), ((0, "closed".into(), -1), &NIL));
    assert_eq!(server.line("EXISTS n m"), Reply::Int(0));
    // A policy gives places as well as a call does.
    assert_eq!(server.line("CB.ACQUIRE n 5 LIMIT db:1 * TTL 1s ID a")[4][0].text(), "a");
}

#[test]
fn memory_that_is_short_refuses_both() {
    let server = Server::at_t0();
    server.config_set("maxmemory", "1");
    let reply = ask(&server, "concurrent:2 TTL 30s ID a");
    assert_error_prefix(&reply, "OOM ");
    assert_eq!(server.line("EXISTS {t}b {t}l"), Reply::Int(0));
    server.config_set("maxmemory", "0");
    assert_eq!(ask(&server, "concurrent:2 TTL 30s ID a")[0].int(), 1);
    server.config_set("maxmemory", "1");
    assert_eq!(server.line("RL.RELEASE a 1 {t}l"), Reply::Int(1), "to give back is never refused");
}

#[test]
fn both_keys_are_told_and_guarded() {
    let server = Server::at_t0();
    let command = "CB.ACQUIRE {t}b 5 limit {t}l concurrent:2 cost 2 ttl 1s id LIMIT critical";
    let keys = server.line(&format!("COMMAND GETKEYS {command}"));
    assert_eq!(keys.items(), [Reply::bulk("{t}b"), Reply::bulk("{t}l")]);
    assert_eq!(server.line(command)[4][0].text(), "LIMIT");
    server.ok("ACL SETUSER half reset on >pass ~{t}b +@all");
    let mut wire = server.wire();
    assert_eq!(wire.line("AUTH half pass"), Reply::ok());
    assert_error_prefix(&wire.line(command), "NOPERM ");
    assert_eq!(wire.line("CB.ACQUIRE {t}b 5")[0].int(), 1);
}
