//! What people type who are new here, and what they are told: each message names
//! the bad part and the way out. The table is read as a whole when a message
//! changes: it has one voice.

use floodgate::COMMANDS;
use floodgate::server::load::argument::{Argument, ArgumentKind};
use floodgate::server::load::command::Access;

use crate::harness::{Reply, Server, assert_error, assert_error_prefix};

/// The command, where `~` stands for a blank within an argument, and the message.
const WRONG: &[(&str, &str)] = &[
    (
        "RL.ACQUIRE user:42",
        "ERR no limits for this key: give limits such as 100/m, pin some (RL.PIN), set a policy with a PREFIX, or set default-limit",
    ),
    (
        "RL.ACQUIRE 10/s user:42",
        "ERR invalid limit 'user:42': the key comes first, then the limits: user:42 10/s",
    ),
    (
        "RL.ACQUIRE user:42 token_bucket:10/s",
        "ERR invalid limit 'token_bucket:10/s': unknown algorithm 'token_bucket', write bucket:10/s",
    ),
    (
        "RL.ACQUIRE user:42 gcra:10/s",
        "ERR invalid limit 'gcra:10/s': unknown algorithm 'gcra', write bucket:10/s",
    ),
    (
        "RL.ACQUIRE user:42 sliding_window:10/s",
        "ERR invalid limit 'sliding_window:10/s': unknown algorithm 'sliding_window', write sliding:10/s",
    ),
    (
        "RL.ACQUIRE user:42 leaky:10/s",
        "ERR invalid limit 'leaky:10/s': unknown algorithm 'leaky', write bucket:10/s",
    ),
    (
        "RL.ACQUIRE user:42 semaphore:5",
        "ERR invalid limit 'semaphore:5': unknown algorithm 'semaphore', write concurrent:5",
    ),
    (
        "RL.ACQUIRE user:42 hello:10/s",
        "ERR invalid limit 'hello:10/s': unknown algorithm 'hello': the algorithms are sliding, bucket, fixed and concurrent",
    ),
    (
        "RL.ACQUIRE user:42 gold",
        "ERR invalid limit 'gold': unknown algorithm 'gold': a limit is written as 10/s, a policy as @gold",
    ),
    (
        "RL.ACQUIRE user:42 @gold",
        "ERR no policy 'gold', RL.POLICY SET makes one and RL.POLICY LIST shows all",
    ),
    ("RL.ACQUIRE user:42 100/hr", "ERR invalid limit '100/hr': unknown unit of time 'hr', write h"),
    ("RL.ACQUIRE user:42 100/mins", "ERR invalid limit '100/mins': unknown unit of time 'mins', write m"),
    (
        "RL.ACQUIRE user:42 100/fortnight",
        "ERR invalid limit '100/fortnight': unknown unit of time 'fortnight': the units are ms, s, m, h, d, w, month, year and ever",
    ),
    (
        "RL.ACQUIRE user:42 10/months",
        "ERR invalid limit '10/months': unknown unit of time 'months', write month",
    ),
    (
        "RL.ACQUIRE user:42 10/month",
        "ERR invalid limit '10/month': month is only for fixed windows, write fixed:10/month",
    ),
    (
        "RL.ACQUIRE user:42 bucket:10/month",
        "ERR invalid limit 'bucket:10/month': month is only for fixed windows, write fixed:10/month",
    ),
    (
        "RL.ACQUIRE user:42 fixed:10/3month",
        "ERR invalid limit 'fixed:10/3month': month takes no number but 1, write days, as in 90d",
    ),
    ("RL.ACQUIRE user:42 10", "ERR invalid limit '10': missing '/' and period, as in 10/s"),
    ("RL.ACQUIRE user:42 10 60", "ERR invalid limit '10': limits are one argument, write 10/60s"),
    ("RL.ACQUIRE user:42 10/60", "ERR invalid limit '10/60': period has no unit, write 10/60s"),
    ("RL.ACQUIRE user:42 100/", "ERR invalid limit '100/': missing period"),
    (
        "RL.ACQUIRE user:42 10k/s",
        "ERR invalid limit '10k/s': count is not a whole number, write all its digits",
    ),
    (
        "RL.ACQUIRE user:42 1.5/s",
        "ERR invalid limit '1.5/s': count is not a whole number, write a longer period, as in 3/2s for 1.5/s",
    ),
    (
        "RL.ACQUIRE user:42 10/1.5s",
        "ERR invalid limit '10/1.5s': period must be a whole number of its unit, such as 1500ms for 1.5s",
    ),
    ("RL.ACQUIRE user:42 10rps", "ERR invalid limit '10rps': count is not a whole number such as 100"),
    ("RL.ACQUIRE user:42 10/s;1000/h", "ERR invalid limit '10/s;1000/h': write ',' between limits, not ';'"),
    ("RL.ACQUIRE user:42 10/s|1000/h", "ERR invalid limit '10/s|1000/h': write ',' between limits, not '|'"),
    (
        "RL.ACQUIRE user:42 10/s 1000/h",
        "ERR syntax error near '1000/h', limits are one argument with ',' between them, as in 10/s,1000/h",
    ),
    (
        "RL.ACQUIRE user:42 10/s,~1000/h",
        "ERR invalid limit ' 1000/h': has white space, write limits without any, as in 10/s,1000/h",
    ),
    (
        "RL.ACQUIRE user:42 10/s/user",
        "ERR invalid limit '10/s/user': more than one '/', write ',' between limits",
    ),
    ("RL.ACQUIRE user:42 10/s,*", "ERR invalid limit '*': '*' stands alone, without other limits"),
    (
        "RL.ACQUIRE user:42 10/s:burst=20",
        "ERR invalid limit '10/s:burst=20': burst= is only for bucket, not for sliding",
    ),
    (
        "RL.ACQUIRE user:42 10/s:speed=9",
        "ERR invalid limit '10/s:speed=9': unknown option 'speed': the options of sliding are name, per, keep, shadow, block, grow and maxblock",
    ),
    (
        "RL.ACQUIRE user:42 10/s:cost=2",
        "ERR invalid limit '10/s:cost=2': unknown option 'cost': COST is an argument of the command, write it after the limits",
    ),
    (
        "RL.ACQUIRE user:42 10/s:keep=10",
        "ERR invalid limit '10/s:keep=10': keep= needs a percent sign, as in keep=10%",
    ),
    ("RL.ACQUIRE user:42 10/s:per=user", "ERR invalid limit '10/s:per=user': per= must be call"),
    ("RL.ACQUIRE user:42 10/s:shadow=yes", "ERR invalid limit '10/s:shadow=yes': shadow takes no value"),
    (
        "RL.ACQUIRE user:42 10/s SHADOW",
        "ERR syntax error near 'SHADOW', shadow belongs to the limit, as in 10/s:shadow",
    ),
    (
        "RL.ACQUIRE user:42 10/s BURST=20",
        "ERR syntax error near 'BURST=20', burst belongs to the limit, as in bucket:10/s:burst=20",
    ),
    ("RL.ACQUIRE user:42 10/s COST=2", "ERR syntax error near 'COST=2', write COST 2"),
    ("RL.ACQUIRE user:42 10/s 2", "ERR syntax error near '2', write COST 2"),
    (
        "RL.ACQUIRE user:42 10/s COST",
        "ERR syntax error: COST needs a value; usage: RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT duration] [CRITICAL] [TRACK]",
    ),
    (
        "RL.ACQUIRE user:42 10/s COST 0",
        "ERR COST must be a whole number from 1 to 1000000000000; RL.QUOTA looks without taking",
    ),
    ("RL.ACQUIRE user:42 10/s COST 1.5", "ERR COST must be a whole number from 1 to 1000000000000"),
    (
        "RL.ACQUIRE user:42 10/s COST 5 COST 6",
        "ERR syntax error: COST is given twice; usage: RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT duration] [CRITICAL] [TRACK]",
    ),
    ("RL.ACQUIRE user:42 10/s WAIT 5", "ERR invalid duration '5': needs a unit, such as 5s or 5ms"),
    (
        "RL.ACQUIRE user:42 10/s WAIT 1.5s",
        "ERR invalid duration '1.5s': must be a whole number of its unit, such as 1500ms for 1.5s",
    ),
    (
        "RL.ACQUIRE user:42 10/s WAIT soon",
        "ERR invalid duration 'soon': expected a number with a unit, such as 30s",
    ),
    ("RL.ACQUIRE user:42 10/s WAIT 5m", "ERR WAIT must be at most 30000ms (setting wait-max)"),
    ("RL.ACQUIRE user:42 10/s 5s", "ERR syntax error near '5s', write WAIT 5s"),
    (
        "RL.ACQUIRE user:42 10/s NOW",
        "ERR syntax error near 'NOW'; usage: RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT duration] [CRITICAL] [TRACK]",
    ),
    (
        "RL.ACQUIRE user:42 10/s PARTIAL WAIT 5s",
        "ERR syntax error: PARTIAL and WAIT exclude each other; usage: RL.ACQUIRE key [limits] [COST n] [PARTIAL | WAIT duration] [CRITICAL] [TRACK]",
    ),
    (
        "RL.ACQUIRE user:42 concurrent:5",
        "ERR invalid limit 'concurrent:5': concurrent limits are taken with RL.RESERVE",
    ),
    (
        "RL.ACQUIRE user:42 concurrent:5/s",
        "ERR invalid limit 'concurrent:5/s': concurrent takes no period, as in concurrent:20",
    ),
    (
        "RL.ACQUIRE breaker 10/s",
        "WRONGTYPE Operation against a key holding the wrong kind of value: it holds a breaker (cbcircuit), a limit needs a key of its own",
    ),
    (
        "CB.ACQUIRE limiter 5",
        "WRONGTYPE Operation against a key holding the wrong kind of value: it holds limits (ratelimit), a breaker needs a key of its own",
    ),
    ("RL.ACQUIRE string 10/s", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ("RL.QUOTA user:42 10/s 5", "ERR syntax error near '5', write COST 5"),
    (
        "RL.REFUND user:42 2.5",
        "ERR n must be a whole number from 1 to 1000000000000; usage: RL.REFUND key n [limits]",
    ),
    (
        "RL.BATCH ALL 2 a 10/s 1",
        "ERR numitems is more than the items that follow; usage: RL.BATCH <ALL | EACH> numitems key limits cost [key limits cost ...] [CRITICAL]",
    ),
    (
        "RL.BATCH ALL 2 a 10/s 1 b 10/hr 1",
        "ERR item 2: invalid limit '10/hr': unknown unit of time 'hr', write h",
    ),
    (
        "RL.BATCH EACH 2 a 10/s 1 b 10/s 0",
        "ERR item 2: COST must be a whole number from 1 to 1000000000000; RL.QUOTA looks without taking",
    ),
    (
        "RL.BATCH ALL 2 a 10/s 1 breaker 10/s 1",
        "WRONGTYPE Operation against a key holding the wrong kind of value: it holds a breaker (cbcircuit), a limit needs a key of its own (item 2)",
    ),
    (
        "RL.RESERVE 1 llm COST 5 TTL 1m",
        "ERR key 1: syntax error near 'COST', limits are missing: write * after 'llm' to use the limits that the server has for it",
    ),
    (
        "RL.RESERVE 2 a 10/s b TTL 1m",
        "ERR key 2: syntax error near 'TTL', limits are missing: write * after 'b' to use the limits that the server has for it",
    ),
    (
        "RL.RESERVE 1 llm 1000/m COST 5",
        "ERR syntax error: a reservation needs TTL, such as TTL 30s; usage: RL.RESERVE numkeys key limits [key limits ...] [COST n] TTL duration [ID id] [PARTIAL | WAIT duration] [CRITICAL]",
    ),
    ("RL.RESERVE 1 llm 1000/m TTL 60", "ERR invalid duration '60': needs a unit, such as 60s or 60ms"),
    ("RL.RESERVE 2 a 10/s a 10/s TTL 1m", "ERR a reservation cannot name a key twice"),
    (
        "RL.RESERVE 2 a 10/s b 10/hr TTL 1m",
        "ERR key 2: invalid limit '10/hr': unknown unit of time 'hr', write h",
    ),
    ("RL.COMMIT id 1 llm 5", "ERR syntax error near '5', write COST 5"),
    ("RL.PIN user:42 *", "ERR invalid limit '*': a pin names its limits; RL.UNPIN returns to the server's"),
    ("RL.PIN user:42 10/s 1h", "ERR syntax error near '1h', write FOR 1h"),
    ("RL.BLOCK user:42 30s", "ERR syntax error near '30s', write FOR 30s, or FOREVER"),
    (
        "RL.BLOCK user:42 30",
        "ERR syntax error near '30', write FOR with a duration such as FOR 30s, or FOREVER",
    ),
    ("RL.BLOCK user:42 FOR 30", "ERR invalid duration '30': needs a unit, such as 30s or 30ms"),
    (
        "RL.BLOCK user:42 forever REASON",
        "ERR syntax error: REASON needs a value; usage: RL.BLOCK key <FOR duration | FOREVER> [REASON text]",
    ),
    (
        "RL.CLEAR user:*",
        "ERR invalid cursor: begin with 0, and go on with the cursor of the last reply; usage: RL.CLEAR cursor [MATCH glob] [COUNT n]",
    ),
    (
        "RL.POLICY SET free 10/s PREFIX user:*",
        "ERR invalid prefix 'user:*': a prefix is literal, leave out the '*' at its end",
    ),
    ("RL.POLICY SET free 10/s user:", "ERR syntax error near 'user:', write PREFIX user:"),
    (
        "RL.POLICY SET free @gold",
        "ERR invalid limit '@gold': a policy cannot stand here, write the limits out",
    ),
    (
        "RL.POLICY SET free 10/s BREAKER 5:open=30",
        "ERR invalid breaker '5:open=30': open=30: needs a unit, such as 30s or 30ms",
    ),
    (
        "RL.POLICY SET free 10/s PREFIX user: NOPREFIX",
        "ERR syntax error: NOPREFIX and PREFIX exclude each other; usage: RL.POLICY <SET name limits [PREFIX prefix | NOPREFIX] [BREAKER breaker | NOBREAKER] | GET name | DEL name | LIST | EXPORT | IMPORT json [REPLACE] | FORGET | HELP>",
    ),
    (
        r#"RL.POLICY IMPORT {"free":"10/s"}"#,
        r#"ERR invalid JSON: expected {"policies": [ ... ]} or an array of policies"#,
    ),
    ("RL.RECORD user:42 SUCCESS", "ERR syntax error near 'SUCCESS', write OK or FAIL"),
    ("RL.RECORD user:42 OK DUR 12", "ERR invalid duration '12': needs a unit, such as 12s or 12ms"),
    ("RL.RECORD user:42 OK 12ms", "ERR syntax error near '12ms', write DUR 12ms"),
    ("RL.STATS user:42 7", "ERR syntax error near '7'; usage: RL.STATS key [HOURS n] [DAYS n]"),
    ("RL.TOP users", "ERR syntax error near 'users', write DENIED, GRANTED, OPEN, BLOCKED, PINNED or FORCED"),
    ("RL.TOP DENIED all", "ERR n must be a whole number from 1 to 2048"),
    ("RL.HELP acquir", "ERR unknown command 'acquir', RL.HELP and CB.HELP list all"),
    ("CL.THROTTLE user:42 ten 10 60", "ERR max_burst must be an integer"),
    ("CL.THROTTLE user:42 10 10 0", "ERR period must be at least 1 second"),
    (
        "CB.ACQUIRE pay 50%",
        "ERR invalid breaker '50%': missing period: a rate is over a period or a number of calls, as in 50%/60s or 50%/100calls",
    ),
    (
        "CB.ACQUIRE pay 50%/60",
        "ERR invalid breaker '50%/60': missing unit of the period, write 60s, or 60calls after a rate",
    ),
    (
        "CB.ACQUIRE pay 0.5/60s",
        "ERR invalid breaker '0.5/60s': a number of failures has no decimals, a rate is written as 50%/60s",
    ),
    (
        "CB.ACQUIRE pay 5:open=30",
        "ERR invalid breaker '5:open=30': open=30: needs a unit, such as 30s or 30ms",
    ),
    (
        "CB.ACQUIRE pay 5:timeout=30s",
        "ERR invalid breaker '5:timeout=30s': unknown option 'timeout', write open=30s",
    ),
    (
        "CB.ACQUIRE pay 5:speed=9",
        "ERR invalid breaker '5:speed=9': unknown option 'speed': the options are min, slow, slowrate, open, backoff, maxopen, probes, lease, ramp, idle and reporters",
    ),
    ("CB.ACQUIRE pay 5:open", "ERR invalid breaker '5:open': missing value of open, as in open=30s"),
    ("CB.ACQUIRE pay 5:min=3", "ERR invalid breaker '5:min=3': min is only for rates (P%/...)"),
    (
        "CB.ACQUIRE pay 5 open=30s",
        "ERR syntax error near 'open=30s', open belongs to the breaker, as in 5:open=30s",
    ),
    (
        "CB.ACQUIRE pay LIMIT user:42",
        "ERR syntax error: LIMIT needs a key and limits; usage: CB.ACQUIRE key [breaker] [LIMIT rlkey limits [COST n] [TTL duration [ID id]] [CRITICAL]]",
    ),
    (
        "CB.ACQUIRE pay consecutive:5",
        "ERR invalid breaker 'consecutive:5': expected a number of failures, or a rate such as 50%/60s",
    ),
    ("CB.ACQUIRE pay LIMIT pay 10/s", "ERR the breaker and the limit need different keys"),
    ("CB.REPORT pay SUCCESS", "ERR syntax error near 'SUCCESS', write OK, FAIL or IGNORE"),
    (
        "CB.REPORT pay OK c-1795202624013786",
        "ERR syntax error near 'c-1795202624013786', write TOKEN c-1795202624013786",
    ),
    ("CB.REPORT pay OK 120ms", "ERR syntax error near '120ms', write DUR 120ms"),
    ("CB.REPORT pay OK DUR 120", "ERR invalid duration '120': needs a unit, such as 120s or 120ms"),
    (
        "CB.REPORT pay FAIL 5",
        "ERR syntax error near '5'; usage: CB.REPORT key <OK | FAIL | IGNORE> [TOKEN token] [DUR duration] [BREAKER breaker] [FROM id]",
    ),
    ("CB.FORCE pay OPENED", "ERR syntax error near 'OPENED', write OPEN, CLOSED or AUTO"),
    ("CB.FORCE pay OPEN 1h", "ERR syntax error near '1h', write FOR 1h"),
    ("CB.FORCE pay AUTO FOR 1h", "ERR syntax error near 'FOR', AUTO ends a force and takes no options"),
    ("CB.PIN pay 5 1h", "ERR syntax error near '1h', write FOR 1h"),
    ("CB.PIN pay FOR 1h", "ERR syntax error near 'FOR', write the breaker before it"),
    ("RL.PIN user:42 FOR 1h", "ERR syntax error near 'FOR', write the limits before it"),
    ("CB.FORCE pay OPEN FOREVER", "ERR syntax error near 'FOREVER', leave it out: without FOR it has no end"),
    (
        "RL.PIN user:42 10/s forever",
        "ERR syntax error near 'forever', leave it out: without FOR it has no end",
    ),
    ("RL.BLOCK user:42 FOR ever", "ERR syntax error near 'ever', write FOREVER in place of FOR"),
    (
        "RL.BLOCK user:42 FOR 10m REASON too many",
        "ERR syntax error near 'many', a reason of several words needs quotes",
    ),
    ("RL.CLEAR 0 user:*", "ERR syntax error near 'user:*', write MATCH user:*"),
    (
        "CB.ACQUIRE pay 5 COST 5",
        "ERR syntax error near 'COST', it belongs to a limit, as in LIMIT user:42 10/s COST 5",
    ),
    (
        "CB.ACQUIRE pay COST 5",
        "ERR syntax error near 'COST', it belongs to a limit, as in LIMIT user:42 10/s COST 5",
    ),
    (
        "RL.ACQUIRE user:42 1e3/s",
        "ERR invalid limit '1e3/s': count is not a whole number, write all its digits",
    ),
    (
        "RL.ACQUIRE user:42 fixed:10/d:tz=Paris",
        "ERR invalid limit 'fixed:10/d:tz=Paris': unknown time zone, write Area/City, as in Europe/Paris",
    ),
    (
        "RL.ACQUIRE user:42 burst=50",
        "ERR invalid limit 'burst=50': unknown algorithm 'burst=50': options follow their limit, as in 10/s:name=api",
    ),
    ("RL.POLICY SET free PREFIX user:", "ERR syntax error near 'PREFIX', write the limits before it"),
    (
        "RL.RESERVE 1 user:42 TTL 5s",
        "ERR key 1: syntax error near 'TTL', limits are missing: write * after 'user:42' to use the limits that the server has for it",
    ),
    ("RL.RESERVE 2 user:42 10/s TTL 5s", "ERR syntax error near 'TTL', numkeys counts it as a key"),
    (
        "RL.RESERVE 1 user:42 10/s",
        "ERR syntax error: a reservation needs TTL, such as TTL 30s; usage: RL.RESERVE numkeys key limits [key limits ...] [COST n] TTL duration [ID id] [PARTIAL | WAIT duration] [CRITICAL]",
    ),
    (
        "RL.COMMIT a 1",
        "ERR numkeys is more than the keys that follow; usage: RL.COMMIT id numkeys key [key ...] [COST actual]",
    ),
    ("RL.COMMIT a 2 user:42 COST 5", "ERR syntax error near 'COST', numkeys counts it as a key"),
    ("RL.RENEW a 30s 1 user:42", "ERR syntax error near '30s', write TTL 30s"),
    (
        "RL.CHARGE user:42 10/s",
        "ERR syntax error: a charge needs COST, such as COST 5; usage: RL.CHARGE key [limits] COST n [TRACK]",
    ),
    (
        "RL.BATCH ALL 1 user:42 10/s",
        "ERR numitems is more than the items that follow; usage: RL.BATCH <ALL | EACH> numitems key limits cost [key limits cost ...] [CRITICAL]",
    ),
    (
        "RL.REFUND user:42 10/s 5",
        "ERR n must be a whole number from 1 to 1000000000000; usage: RL.REFUND key n [limits]",
    ),
    (
        "RL.PIN user:42",
        "ERR wrong number of arguments for 'rl.pin' command; usage: RL.PIN key limits [FOR duration]",
    ),
    (
        "CB.REPORT pay",
        "ERR wrong number of arguments for 'cb.report' command; usage: CB.REPORT key <OK | FAIL | IGNORE> [TOKEN token] [DUR duration] [BREAKER breaker] [FROM id]",
    ),
];

fn call(server: &Server, command: &str) -> Reply {
    let words: Vec<String> = command.split(' ').map(|word| word.replace('~', " ")).collect();
    server.call(&words)
}

/// A server with a limiter, a breaker and a string.
fn server() -> Server {
    let server = Server::start();
    server.line("RL.ACQUIRE limiter 10/h");
    server.line("CB.REPORT breaker FAIL BREAKER 5");
    server.line("SET string x");
    server
}

#[test]
fn every_wrong_input_is_told_the_way_out() {
    let server = server();
    assert!(WRONG.len() >= 60, "{}", WRONG.len());
    for (command, message) in WRONG {
        assert_error(&call(&server, command), message);
        // One line that a terminal shows.
        assert!(message.is_ascii() && !message.contains('\n') && message.len() < 300, "{message}");
    }
    // From 7.0 on the server itself knows the sub-commands, and refuses others.
    let other = if server.at_least(7, 0) {
        "unknown subcommand 'ADD'"
    } else {
        "syntax error near 'ADD', write SET, GET"
    };
    assert_error_prefix(&server.line("RL.POLICY ADD free 10/s"), &format!("ERR {other}"));
    assert_eq!(server.line("DBSIZE"), Reply::Int(3), "nothing is taken by a wrong call");
}

/// Where the server leaves it to us, a wrong number of arguments tells the usage.
#[test]
fn a_wrong_number_of_arguments_tells_the_usage() {
    let server = Server::start();
    for (command, usage) in [
        ("RL.DEBUG CLOCK SET", "; usage: RL.DEBUG <CLOCK <SET us | ADVANCE us | REAL>"),
        ("RL.POLICY SET free", "; usage: RL.POLICY <SET name limits "),
        ("RL.POLICY GET", "; usage: RL.POLICY <SET name limits "),
    ] {
        let reply = server.line(command);
        let text = reply.error().unwrap_or_default();
        let name = command.split(' ').next().unwrap().to_lowercase();
        let begins = format!("ERR wrong number of arguments for '{name}");
        assert!(text.starts_with(&begins), "{command}: {text}");
        // The server itself, which knows sub-commands from 7.0 on, tells no usage.
        assert!(text.ends_with("' command") || text.contains(usage), "{command}: {text}");
    }
    if !server.at_least(7, 0) {
        assert!(server.line("RL.POLICY SET free").error().unwrap().contains("; usage: RL.POLICY "));
    }
}

/// The usage comes from the table of commands, also where the name is typed in
/// small letters.
#[test]
fn the_usage_is_that_of_the_table() {
    let server = server();
    for command in COMMANDS.iter().filter(|command| command.rights != Access::Internal) {
        let help = server.line(&format!("RL.HELP {}", command.name.to_lowercase()));
        assert_eq!(help[0].text(), command.syntax());
        assert_eq!(help[1].text(), format!("    {}", command.summary));
        assert_eq!(server.line(&format!("CB.HELP {}", command.name)), help);
    }
    let one = server.line("CB.HELP acquire");
    assert!(one[0].text().starts_with("CB.ACQUIRE "), "{one:?}");
    let one = server.line("RL.HELP acquire");
    assert!(one[0].text().starts_with("RL.ACQUIRE "), "{one:?}");
    assert_error_prefix(&server.line("RL.HELP RL.EFFECT"), "ERR unknown command 'RL.EFFECT'");
    assert_error_prefix(
        &server.line("RL.HELP acquire reserve"),
        "ERR syntax error near 'reserve'; usage: RL.HELP",
    );
    let usage = server.line("rl.acquire k 10/s now");
    assert!(usage.error().unwrap().ends_with("[PARTIAL | WAIT duration] [CRITICAL] [TRACK]"), "{usage:?}");
}

/// A call of each command that takes options, and each of these.
const OPTIONS: &[(&str, &[&str])] = &[
    ("RL.ACQUIRE k 10/s", &["COST 5", "PARTIAL", "WAIT 1s", "CRITICAL", "TRACK"]),
    ("RL.QUOTA k 10/s", &["COST 5", "HEADERS"]),
    ("RL.BATCH ALL 1 k 10/s 1", &["CRITICAL"]),
    ("RL.RESERVE 1 k 10/s", &["COST 5", "TTL 1m", "ID a", "PARTIAL", "WAIT 1s", "CRITICAL"]),
    ("RL.COMMIT a 1 k", &["COST 5"]),
    ("RL.CHARGE k 10/s", &["COST 5", "TRACK"]),
    ("GCRA k 1 1 1", &["TOKENS 2"]),
    ("RL.PIN k 10/s", &["FOR 1h"]),
    ("RL.BLOCK k FOREVER", &["REASON x"]),
    ("RL.BLOCK k", &["FOR 1h", "FOREVER"]),
    ("RL.CLEAR 0", &["MATCH *", "COUNT 5"]),
    ("RL.USAGE 0", &["MATCH *", "COUNT 5"]),
    ("RL.RECORD k OK", &["CACHED", "SPEND 1", "DUR 1s", "COUNT 5"]),
    ("RL.STATS k", &["HOURS 5", "DAYS 5"]),
    ("RL.TOP DENIED", &["NOW"]),
    ("RL.ALERTS", &["KEY k"]),
    ("RL.POLICY SET p 10/s", &["PREFIX a", "BREAKER 5", "NOPREFIX", "NOBREAKER"]),
    ("RL.POLICY IMPORT []", &["REPLACE"]),
    ("CB.ACQUIRE b 5", &["LIMIT k 10/s", "LIMIT k 10/s COST 5"]),
    ("CB.ACQUIRE b 5 LIMIT k 10/s", &["COST 5", "TTL 1m", "ID a", "CRITICAL"]),
    ("CB.REPORT b OK", &["TOKEN c-1795202624013786", "DUR 1s", "BREAKER 5", "FROM pod-1"]),
    ("CB.FORCE b OPEN", &["FOR 1h", "REASON x"]),
    ("CB.PIN b 5", &["FOR 1h"]),
];

/// The keywords of what may be left out.
fn optional(argument: &Argument, within: bool, found: &mut Vec<&'static str>) {
    let optional = within || argument.optional;
    if optional && let Some(token) = argument.token {
        found.push(token);
    }
    if let ArgumentKind::OneOf(parts) | ArgumentKind::Group(parts) = argument.kind {
        parts.iter().for_each(|part| self::optional(part, optional, found));
    }
}

#[test]
fn an_option_given_twice_is_refused_everywhere() {
    let server = server();
    for (call, options) in OPTIONS {
        for option in *options {
            let reply = server.line(&format!("{call} {option} {option}"));
            let text = reply.error().unwrap_or_else(|| panic!("{call}: {option} twice is taken: {reply:?}"));
            let keyword = option.split(' ').rfind(|word| word.chars().all(char::is_uppercase)).unwrap();
            // LIMIT ends the breaker's own options.
            let told = if option.starts_with("LIMIT") {
                "ERR syntax error near 'LIMIT'; usage: ".to_owned()
            } else {
                format!("ERR syntax error: {keyword} is given twice; usage: ")
            };
            assert!(text.starts_with(&told), "{call} {option}: {text}");
        }
    }
    // None of them has taken effect, and no command has an option that is not tried.
    assert_eq!(server.line("DBSIZE"), Reply::Int(3));
    assert_eq!(server.line("RL.POLICY LIST").field("policies").items().len(), 0);
    for command in COMMANDS.iter().filter(|command| command.rights != Access::Internal) {
        let mut tokens = Vec::new();
        command.arguments.iter().for_each(|argument| optional(argument, false, &mut tokens));
        for token in tokens {
            let tried = OPTIONS.iter().any(|(call, options)| {
                (call.starts_with(&format!("{} ", command.name)) || *call == command.name)
                    && options.iter().any(|option| option.split(' ').any(|word| word == token))
            });
            assert!(tried, "{}: {token} is not tried twice", command.name);
        }
    }
}
