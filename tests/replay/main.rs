//! `make replay`: the tool is run as people run it, on generated logs and on the one that
//! `FLOODGATE_LOG` names, against counts that forget nothing.

#![cfg(test)]
#![allow(clippy::pedantic, reason = "tests are read as stories, and their numbers are small")]

#[path = "../support/mod.rs"]
mod support;

use jiff::{civil::DateTime, tz::TimeZone};
use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};
use support::{Dice, LoggedRequest, logged_requests, named_log};

const MINUTE: u64 = 60;

fn replay<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_replay")).args(args).output().unwrap()
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn generated_log(dir: &Path) -> PathBuf {
    let path = dir.join("generated.log");
    let mut log = fs::File::create(&path).unwrap();
    let mut dice = Dice::new(5);
    for i in 0..5000 {
        // Busy minutes with few addresses, and lines that are not in order.
        let (who, hour) = (if dice.chance(30) { dice.below(3) } else { dice.below(800) }, i / 250);
        let line = format!("[17/May/2015:{hour:02}:05:{:02} +0000] \"GET / HTTP/1.1\" 200 1", dice.below(60));
        writeln!(log, "10.0.{}.{} - - {line}", who / 256, who % 256).unwrap();
    }
    path
}

/// How an address fared: requests granted and denied, and the times of its first and last denial.
#[derive(Debug, Default, PartialEq)]
struct Fared {
    granted: u64,
    denied: u64,
    denials: Option<(u64, u64)>,
}

/// How each address fared, by a model that sees all earlier grants; times in seconds.
fn count(requests: &[LoggedRequest], grants: impl Fn(&[u64], u64) -> bool) -> BTreeMap<String, Fared> {
    let mut past: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut counts: BTreeMap<String, Fared> = BTreeMap::new();
    for (address, time) in requests {
        let now = time / 1_000_000;
        let past = past.entry(address).or_default();
        let fared = counts.entry(address.clone()).or_default();
        if grants(past, now) {
            past.push(now);
            fared.granted += 1;
        } else {
            fared.denied += 1;
            fared.denials = Some((fared.denials.map_or(now, |(first, _)| first), now));
        }
    }
    counts
}

fn within(granted: &[u64], now: u64, period: u64) -> usize {
    granted.iter().filter(|&&at| now - at < period).count()
}

/// Each of these is counted for itself.
const COUNTED: &str = "30/m,60/h;fixed:20/m;10/s;fixed:40/ever";

fn expected_of(requests: &[LoggedRequest]) -> [BTreeMap<String, Fared>; 4] {
    [
        count(requests, |past, now| within(past, now, MINUTE) < 30 && within(past, now, 60 * MINUTE) < 60),
        count(requests, |past, now| past.iter().filter(|&&at| at / MINUTE == now / MINUTE).count() < 20),
        count(requests, |past, now| within(past, now, 1) < 10),
        count(requests, |past, _| past.len() < 40),
    ]
}

/// A row of the sheet: which of the limits, the address, and how it fared.
fn read_row(row: &str) -> (usize, String, Fared) {
    // Only the first field may hold a comma, and is then quoted.
    let rest_of = |limits| {
        row.strip_prefix(&format!("\"{limits}\",")).or_else(|| row.strip_prefix(&format!("{limits},")))
    };
    let which = COUNTED.split(';').enumerate();
    let (which, rest) = which
        .filter_map(|(at, limits)| rest_of(limits).map(|rest| (at, rest)))
        .next()
        .unwrap_or_else(|| panic!("{row}"));
    let fields: Vec<_> = rest.split(',').collect();
    let number = |at: usize| fields[at].parse::<u64>().unwrap();
    let time = |at: usize| {
        let time: DateTime = fields[at].parse().unwrap_or_else(|error| panic!("{row}: {error}"));
        u64::try_from(TimeZone::UTC.to_timestamp(time).unwrap().as_second()).unwrap()
    };
    assert_eq!(number(1), number(2) + number(3));
    let denials = (!fields[4].is_empty()).then(|| (time(4), time(5)));
    (which, fields[0].to_owned(), Fared { granted: number(2), denied: number(3), denials })
}

fn assert_counted_as_expected(log: &Path, expected: &[BTreeMap<String, Fared>; 4]) {
    let dir = tempfile::tempdir().unwrap();
    let sheet = dir.path().join("out.csv");
    let shown = text(&replay(&[
        "--limits".as_ref(),
        COUNTED.as_ref(),
        "--csv".as_ref(),
        sheet.as_os_str(),
        log.as_os_str(),
    ]));
    let mut got = [const { BTreeMap::new() }; 4];
    for row in fs::read_to_string(&sheet).unwrap().lines().skip(1) {
        let (which, address, fared) = read_row(row);
        got[which].insert(address, fared);
    }
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert_eq!(got, expected, "limits #{}", at + 1);
        let sum = |of: fn(&Fared) -> u64| expected.values().map(of).sum::<u64>().to_string();
        let line = shown.lines().find(|line| line.starts_with(&format!("#{}", at + 1))).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[2..4], [sum(|fared| fared.granted), sum(|fared| fared.denied)], "{line}");
    }
}

#[test]
fn every_address_fares_as_a_brute_force_count_says() {
    let dir = tempfile::tempdir().unwrap();
    let log = generated_log(dir.path());
    let expected = expected_of(&logged_requests(&log));
    let denies = |at: usize| expected[at].values().any(|fared| fared.denied > 0);
    assert!(denies(0) && denies(1), "the generated log is not busy enough");
    assert_counted_as_expected(&log, &expected);
    if let Some(log) = named_log() {
        assert_counted_as_expected(&log, &expected_of(&logged_requests(&log)));
    }
}

fn line(address: &str, second: u32) -> String {
    format!(
        "{address} - joe [17/May/2015:10:{:02}:{:02} +0000] \"GET /a?{second} HTTP/1.1\" 200 1\n",
        second / 60,
        second % 60
    )
}

#[test]
fn malformed_lines_are_counted_shown_and_never_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    let mut bytes = line("::1", 0).into_bytes();
    bytes.extend(b"nonsense\n\n\xff\x00\x1b[31m\n");
    bytes.extend(vec![b'x'; 3000]);
    bytes.extend(b"\nfourth\n");
    bytes.extend(line("::1", 1).trim_end().as_bytes());
    fs::write(&path, bytes).unwrap();
    let shown = text(&replay(&["--limits", "1/m", path.to_str().unwrap()]));
    let lines: Vec<_> = shown.lines().collect();
    assert_eq!(lines[0], "2 requests of 1 address, 2015-05-17 10:00:00 to 2015-05-17 10:00:01 UTC");
    assert_eq!(lines[1], "passed over 4 lines that are not requests. The first:");
    assert_eq!(lines[2..4], ["    nonsense", "    \\xff\\x00\\x1b[31m"]);
    assert_eq!(lines[4], format!("    {}…", "x".repeat(80)));
    assert!(
        lines.iter().any(|line| line.starts_with("#1  1/m             1          1   50.00%        1  ")),
        "{shown}"
    );
}

#[test]
fn a_limit_that_is_exceeded_closes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    // Two of them at once, and one every second of five minutes.
    let lines: String = std::iter::once(0).chain(0..300).map(|second| line("::1", second)).collect();
    fs::write(&path, lines).unwrap();
    let denied = |limits: &str| {
        let shown = text(&replay(&["--limits", limits, path.to_str().unwrap()]));
        let found = shown.lines().find(|line| line.starts_with("#1")).expect("its line").to_owned();
        found.split_whitespace().nth(3).expect("denied").parse::<u64>().unwrap()
    };
    assert_eq!(denied("1/s"), 1);
    // Denied at 0 and until 30; from then on one a second is granted.
    assert_eq!(denied("1/s:block=30s"), 1 + 29);
    // Every second request is denied, and closes: 1, 2, 4 … up to 16 seconds.
    let longer = denied("2/2s,1/s:name=x:block=1s");
    assert_eq!(longer, 1);
    assert!(denied("1/2s:block=2s:grow=2:maxblock=16s") > denied("1/2s:block=2s"));
}

#[test]
fn gzip_and_several_files_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let (late, early) = (dir.path().join("a.log"), dir.path().join("b.log.gz"));
    fs::write(&late, (60..70).map(|second| line("1.1.1.1", second)).collect::<String>()).unwrap();
    let first: String = (0..10).map(|second| line("1.1.1.1", second)).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(first.as_bytes()).unwrap();
    let mut gzip = gzip.finish().unwrap();
    fs::write(&early, &gzip).unwrap();
    let args = |limits: &str| {
        ["--limits".into(), limits.to_owned(), late.display().to_string(), early.display().to_string()]
    };
    let shown = text(&replay(&args("5/m")));
    let row = |shown: &str| {
        shown
            .lines()
            .find(|line| line.starts_with("#1"))
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    // Five of the first ten; each of them is free again a minute later.
    assert_eq!(row(&shown)[2..4], ["10", "10"]);

    // One that is still being written: what is there counts, and it is said.
    gzip.truncate(gzip.len() - 10);
    fs::write(&early, &gzip).unwrap();
    let output = replay(&args("5/m"));
    assert_eq!(row(&text(&output))[2], "10", "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("b.log.gz was read only in part: "),
        "{output:?}"
    );
}

/// A request that several shadow limits would have denied is one request.
#[test]
fn shadow_limits_count_requests() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    fs::write(&path, (0..5).map(|second| line("1.1.1.1", second)).collect::<String>()).unwrap();
    let shown = text(&replay(&["--limits", "1/m:shadow,2/h:shadow,3/d:shadow", path.to_str().unwrap()]));
    assert!(shown.contains("shadow limits would have denied 4 requests\n"), "{shown}");
}

#[test]
fn a_table_of_none_does_not_say_that_nobody_was_limited() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    // The mark in front of the file is no part of the first address.
    let lines: String = (0..5).map(|second| line("1.1.1.1", second)).collect();
    fs::write(&path, format!("\u{feff}{lines}")).unwrap();
    let path = path.to_str().unwrap();
    let shown = text(&replay(&["--limits", "1/m", "--top", "0", path]));
    assert!(shown.starts_with("5 requests of 1 address,"), "{shown}");
    assert!(!shown.contains("nobody") && !shown.contains("most denied"), "{shown}");
    assert!(
        text(&replay(&["--limits", "5/m", "--top", "0", path])).contains("nobody would have been limited")
    );
}

#[test]
fn by_user_path_or_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    fs::write(&path, line("1.1.1.1", 0) + &line("2.2.2.2", 1)).unwrap();
    for (by, key) in [("user", "joe"), ("path", "/a"), ("all", "all")] {
        let shown = text(&replay(&["--limits", "1/m", "--by", by, path.to_str().unwrap()]));
        assert!(
            shown.lines().any(|line| line.starts_with(&format!("{key} ")) && line.contains("50.00%")),
            "{shown}"
        );
    }
    let shown = text(&replay(&["--limits", "1/m", path.to_str().unwrap()]));
    assert!(shown.ends_with("nobody would have been limited\n"), "{shown}");
}

#[test]
fn the_picture_has_a_panel_for_each_set_of_limits() {
    let dir = tempfile::tempdir().unwrap();
    let picture = dir.path().join("out.svg");
    for (seconds, limits) in [(1, "1/m"), (600, "5/m;10/m"), (100, "bucket:1/m;1/s:shadow")] {
        let path = dir.path().join("access.log");
        fs::write(&path, (0..seconds).map(|second| line("1.1.1.1", second)).collect::<String>()).unwrap();
        text(&replay(&["--limits", limits, "--picture", picture.to_str().unwrap(), path.to_str().unwrap()]));
        let svg = fs::read_to_string(&picture).unwrap();
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        for limits in limits.split(';') {
            assert!(svg.contains(&format!("{limits}: ")), "{limits}");
        }
        // Both axes say what they count.
        let every = seconds / 180 + 1;
        assert!(svg.contains(&format!("requests in {every} s")) && svg.contains("time (UTC)"), "{seconds}");
    }
}

/// Both say how much was granted and denied in each stretch of time.
#[test]
fn the_timeline_adds_up_to_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let (path, sheet) = (dir.path().join("access.log"), dir.path().join("out.csv"));
    // Ten requests a minute for an hour, and a burst in the last minute.
    let seconds = (0..3600).step_by(6).chain(std::iter::repeat_n(3590, 50));
    fs::write(&path, seconds.map(|second| line("1.1.1.1", second)).collect::<String>()).unwrap();
    let args = ["--limits", "5/m;20/m", "--timeline", sheet.to_str().unwrap(), path.to_str().unwrap()];
    text(&replay(&args));
    let sheet = fs::read_to_string(&sheet).unwrap();
    let mut rows = sheet.lines().map(|row| row.split(',').collect::<Vec<_>>());
    assert_eq!(rows.next().unwrap(), ["limits", "from", "seconds", "requests", "granted", "denied"]);
    let mut sums = BTreeMap::new();
    let (mut last, mut times) = (String::new(), 0);
    for row in rows {
        let number = |at: usize| row[at].parse::<u64>().unwrap();
        assert_eq!((number(2), number(3)), (20, number(4) + number(5)), "{row:?}");
        // In order of time, for each set of limits.
        assert!(row[1] > last.as_str() || row[1] == "2015-05-17 10:00:00", "{row:?}");
        last = row[1].to_owned();
        let sum: &mut (u64, u64) = sums.entry(row[0].to_owned()).or_default();
        *sum = (sum.0 + number(4), sum.1 + number(5));
        times += 1;
    }
    assert_eq!(times, 2 * 180);
    // Five of ten in each minute; in the last of them twenty of sixty.
    assert_eq!(sums["5/m"], (300, 350));
    assert_eq!(sums["20/m"], (610, 40));
    assert!(sheet.contains("20/m,2015-05-17 10:59:40,20,"), "{sheet}");
}

#[test]
fn lines_from_everywhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    // One moment in three time zones, the third a second earlier; IPv6; with a
    // virtual host; and the clock of the machine set back by an hour.
    let lines = [
        r#"2001:db8::1 - - [17/May/2015:10:05:03 +0000] "GET / HTTP/1.1" 200 5 "-" "x""#,
        r#"2001:db8::1 - - [17/May/2015:15:50:03 +0545] "GET / HTTP/1.1" 200 5"#,
        r#"www.example.org:443 2001:db8::1 - - [17/May/2015:00:05:02 -1000] "GET / HTTP/1.1" 200 5 "-" "x""#,
        r#"2001:db8::1 - - [17/May/2015:09:05:03 +0000] "-" 408 -"#,
    ];
    fs::write(&path, lines.join("\r\n")).unwrap();
    let shown = text(&replay(&["--limits", "2/m", path.to_str().unwrap()]));
    assert!(
        shown.starts_with(
            "4 requests of 1 address, 2015-05-17 09:05:03 to 2015-05-17 10:05:03 UTC\n\
         2 lines were out of order; all are replayed in order of time\n"
        ),
        "{shown}"
    );
    let row = "2001:db8::1         4         1   25.00%  2015-05-17 10:05:03  2015-05-17 10:05:03";
    assert!(shown.lines().any(|line| line == row), "{shown}");
}

#[test]
fn what_is_no_log_is_counted_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    // A line of 3 MiB is one malformed line.
    let huge = line("1.1.1.1", 0) + &"x".repeat(3 << 20) + "\n" + &line("1.1.1.1", 1);
    fs::write(&path, huge).unwrap();
    let shown = text(&replay(&["--limits", "1/m", path.to_str().unwrap()]));
    assert!(shown.starts_with("2 requests of 1 "), "{shown}");
    assert!(shown.contains("\npassed over 1 line that is not a request:\n"), "{shown}");

    let binary: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    fs::write(&path, &binary).unwrap();
    let output = replay(&["--limits", "1/m", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("no line is a request in the common or combined log format; the first: \\x00"));
    assert!(said.is_ascii() && said.len() < 500, "{said}");

    // A folder, and a gzip file that is none.
    let folder = dir.path().to_str().unwrap();
    let output = replay(&["--limits", "1/m", folder]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr).trim_end(),
        format!("replay: cannot read {folder}: Is a directory (os error 21)")
    );
    fs::write(&path, [&[0x1f, 0x8b], &binary[..]].concat()).unwrap();
    let output = replay(&["--limits", "1/m", path.to_str().unwrap()]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("access.log was read only in part: "),
        "{output:?}"
    );
}

/// Who rotates logs packs them in many ways: what is not read is named, with what reads it.
#[test]
fn a_log_in_another_form_is_named_with_what_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log.1");
    let name = path.to_str().unwrap();
    let mut tar = vec![b'a'; 512];
    tar[257..262].copy_from_slice(b"ustar");
    tar.extend(line("1.1.1.1", 0).into_bytes());
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(&tar).unwrap();
    let packed = packed.finish().unwrap();
    for (start, what, program) in [
        (&b"\x28\xb5\x2f\xfd\x84"[..], "packed by zstd", "zstd -dc"),
        (b"\xfd7zXZ\0\0", "packed by xz", "xz -dc"),
        (b"BZh91AY", "packed by bzip2", "bzip2 -dc"),
        (b"PK\x03\x04\x14", "a zip archive", "unzip -p"),
        (b"\xff\xfe1\0", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
        (b"\xfe\xff\x001", "UTF-16", "iconv -f UTF-16 -t UTF-8"),
        (&tar, "a tar archive", "tar -xOf"),
        (&packed, "a tar archive", "tar -xOf"),
    ] {
        fs::write(&path, start).unwrap();
        let output = replay(&["--limits", "1/m", name]);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8_lossy(&output.stderr).trim_end(),
            format!(
                "replay: cannot read {name}: it is {what}, and logs are read plain or packed by gzip. \
                 Use: {program} '{name}' | make replay LOG=- …"
            )
        );
    }
}

/// The same requests as an access log, as JSON lines and as a load balancer's
/// words: the same table but for the heading of the keys.
#[test]
fn json_lines_and_words_by_a_mapping() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, line: &dyn Fn(u32) -> String| {
        let path = dir.path().join(name);
        fs::write(&path, (0..90).map(line).collect::<String>()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let who = |second: u32| ["1.1.1.1", "2.2.2.2", "1.1.1.1"][(second % 3) as usize];
    let at = |second: u32| 1_431_856_800 + second;
    let plain = write("access.log", &|second| line(who(second), second));
    let json = write("caddy.log", &|second| {
        format!("{{\"ts\":{}.5,\"request\":{{\"client_ip\":\"{}\"}}}}\n", at(second), who(second))
    });
    let words = write("alb.log", &|second| {
        let time = format!("2015-05-17T10:{:02}:{:02}.1Z", second / 60, second % 60);
        format!("https {time} app/a/b {}:{} \"GET / HTTP/1.1\"\n", who(second), 1000 + second)
    });
    let shown = |more: &[&str], log: &str| {
        let mut args = vec!["--limits", "20/m;bucket:1/m"];
        args.extend(more);
        args.push(log);
        text(&replay(&args)).replace("addresses", "keys")
    };
    let expected = shown(&[], &plain);
    assert!(expected.contains("90 requests of 2 keys, 2015-05-17 10:00:00 to"), "{expected}");
    assert_eq!(shown(&["--fields", "time=ts,key=request.client_ip"], &json), expected);
    assert_eq!(shown(&["--fields", "time=2,key=4"], &words), expected);
    let all = shown(&["--fields", "time=ts,key=request.client_ip", "--by", "all"], &json);
    assert_eq!(all, shown(&["--by", "all"], &plain));

    // Without the mapping the refusal names it, and the fields that there are.
    let refused = replay(&["--limits", "1/m", &json]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in
        ["FIELDS='time=ts,key=request.client_ip'", "the fields of that line are request.client_ip, ts\n"]
    {
        assert!(said.contains(part), "{said}");
    }
    let refused = replay(&["--limits", "1/m", "--fields", "time=at,key=ip", &json]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in ["that line has no time in the field that you named", "line are request.client_ip, ts\n"] {
        assert!(said.contains(part), "{said}");
    }
    // Where the time cannot be read, neither the key nor the names are to blame.
    let odd = write("odd.log", &|_| "{\"ts\":\"noon\",\"ip\":\"1.1.1.1\"}\n".to_owned());
    let refused = replay(&["--limits", "1/m", "--fields", "time=ts,key=ip", &odd]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("its time 'noon' cannot be read: a time is a date with"), "{said}");
    assert!(!said.contains("the fields of that line"), "{said}");
}

/// A spreadsheet runs what begins so.
#[test]
fn no_key_in_the_csv_is_a_formula() {
    let dir = tempfile::tempdir().unwrap();
    let (log, sheet) = (dir.path().join("app.json"), dir.path().join("out.csv"));
    let keys = ["=cmd|'/c calc'!A0", "+1+1", "-2", "@SUM(A1)", "-", "a=b"];
    let lines = keys.iter().map(|key| format!("{{\"t\":1431856800,\"user\":\"{key}\"}}\n"));
    fs::write(&log, lines.collect::<String>()).unwrap();
    let args = ["--limits", "1/m", "--fields", "time=t,key=user", "--csv"];
    let output =
        replay(&[&args.map(std::ffi::OsStr::new)[..], &[sheet.as_os_str(), log.as_os_str()]].concat());
    assert!(output.status.success(), "{output:?}");
    let sheet = fs::read_to_string(sheet).unwrap();
    let written: Vec<&str> = sheet.lines().skip(1).filter_map(|line| line.split(',').nth(1)).collect();
    assert_eq!(written, [r"'=cmd|\'/c calc\'!A0", "'+1+1", "'-2", "'@SUM(A1)", "-", "a=b"]);
}

/// Nothing is cut to whole seconds: what a server grants at these times, the
/// tool grants.
#[test]
fn times_between_two_seconds_count() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made.json");
    let granted = |times_ms: &[u64], limits: &str| {
        let line = |ms: &u64| {
            let ms = 1_431_856_800_000 + ms;
            format!("{{\"ts\":{}.{:03},\"ms\":{ms},\"who\":\"a\"}}\n", ms / 1000, ms % 1000)
        };
        fs::write(&path, times_ms.iter().map(line).collect::<String>()).unwrap();
        let of = |fields: &str| {
            let shown = text(&replay(&["--limits", limits, "--fields", fields, path.to_str().unwrap()]));
            let row = shown.lines().find(|line| line.starts_with("#1")).unwrap().to_owned();
            row.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
        };
        let both = [of("time=ts,key=who"), of("time=ms,key=who")];
        assert_eq!(both[0], both[1], "{limits}");
        both[0]
    };
    // Every 100 ms.
    let steady: Vec<u64> = (0..20).map(|at| at * 100).collect();
    assert_eq!(granted(&steady, "1/100ms"), 20);
    assert_eq!(granted(&steady, "1/101ms"), 10);
    assert_eq!(granted(&[900, 1800, 2700], "1/s"), 2);
    assert_eq!(granted(&[900, 1800, 2700], "fixed:1/s"), 3);

    // A date in a word of its own is no time, and the refusal says what to do.
    fs::write(&path, "2015-05-17 10:05:00 a\n2015-05-17 10:05:02.5 a\n").unwrap();
    let refused = replay(&["--limits", "1/s", "--fields", "time=1,key=3", path.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("FIELDS='time=1+2,key=4'"), "{refused:?}");
    let shown = text(&replay(&["--limits", "1/s", "--fields", "time=1+2,key=3", path.to_str().unwrap()]));
    assert!(shown.starts_with("2 requests of 1 key, 2015-05-17 10:05:00 to 2015-05-17 10:05:02"), "{shown}");
}

/// A log of one line under some names, and a folder for what is written.
#[test]
fn an_output_never_overwrites_a_log_or_another_output() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let log = path("one.log");
    let text = line("1.1.1.1", 0);
    fs::write(&log, &text).unwrap();
    fs::hard_link(&log, path("hard")).unwrap();
    std::os::unix::fs::symlink(&log, path("soft")).unwrap();
    std::os::unix::fs::symlink("new.csv", path("to-new")).unwrap();
    let is_log = "that file is one of the logs, and would be overwritten";
    for option in ["--csv", "--timeline", "--picture"] {
        for output in [log.clone(), path("hard"), path("soft"), path("./one.log")] {
            let refused = replay(&["--limits", "1/m", option, &output, &log]);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(fs::read_to_string(&log).unwrap(), text, "{option} {output}");
            assert_eq!(
                (refused.status.code(), said.trim_end()),
                (Some(1), &*format!("replay: {option} {output}: {is_log}"))
            );
            assert!(refused.stdout.is_empty());
        }
    }
    // The log that standard input is.
    let refused = Command::new(env!("CARGO_BIN_EXE_replay"))
        .args(["--limits", "1/m", "--csv", &log, "-"])
        .stdin(fs::File::open(&log).unwrap())
        .output()
        .unwrap();
    assert_eq!((refused.status.code(), fs::read_to_string(&log).unwrap()), (Some(1), text));
    for second in ["new.csv", "to-new"] {
        let refused =
            replay(&["--limits", "1/m", "--csv", &path("new.csv"), "--timeline", &path(second), &log]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(said.trim_end(), format!("replay: --timeline {}: --csv writes that file", path(second)));
        assert!(!refused.status.success() && !Path::new(&path("new.csv")).exists());
    }
    // Where nothing is kept, nothing is overwritten; what is no log may be written again.
    text_of_success(&["--limits", "1/m", "--csv", "/dev/null", "--timeline", "/dev/null", &log]);
    for _ in 0..2 {
        text_of_success(&[
            "--limits",
            "1/m",
            "--csv",
            &path("new.csv"),
            "--timeline",
            &path("time.csv"),
            &log,
        ]);
    }
}

#[track_caller]
fn text_of_success(args: &[&str]) {
    text(&replay(args));
}

#[test]
fn what_cannot_be_written_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("one.log");
    fs::write(&log, line("1.1.1.1", 0) + &line("1.1.1.1", 1)).unwrap();
    let run = |out: Stdio, err: Stdio| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_replay"));
        run.args(["--limits", "1/m"])
            .arg(&log)
            .stdout(out)
            .stderr(err)
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    };
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let refused = run(full(), Stdio::piped());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.starts_with("replay: cannot write to standard output: No space left on device"), "{said}");
    // Nobody reads standard error: the table is there all the same.
    let done = run(Stdio::piped(), full());
    assert_eq!(done.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&done.stdout).contains("1.1.1.1"));
    assert_eq!(run(full(), full()).status.code(), Some(1));
    // A reader that has stopped is no failure.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(Stdio::from(writer), Stdio::piped()).status.code(), Some(0));
}

#[test]
fn an_element_of_a_list_is_named_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("caddy.log");
    let one = r#"{"ts":1431857103.5,"request":{"headers":{"X-Forwarded-For":["1.2.3.4, 10.0.0.1"]}}}"#;
    fs::write(&log, format!("{one}\n{one}\n")).unwrap();
    let log = log.to_str().unwrap();
    let by = |key: &str| replay(&["--limits", "1/m", "--fields", &format!("time=ts,key={key}"), log]);
    assert!(text(&by("request.headers.X-Forwarded-For.0")).contains("1.2.3.4"));
    let said = String::from_utf8_lossy(&by("request.headers.X-Forwarded-For").stderr).into_owned();
    assert!(
        said.contains("the key that you named is a list in that line: write .0 after its name"),
        "{said}"
    );
    assert!(said.contains("the fields of that line are request.headers.X-Forwarded-For.0, ts"), "{said}");
}

#[test]
fn what_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.log");
    fs::write(&empty, "").unwrap();
    let empty = empty.to_str().unwrap();
    let one = dir.path().join("one.log");
    fs::write(&one, line("1.1.1.1", 0)).unwrap();
    let one = one.to_str().unwrap();
    for (args, message) in [
        (vec!["--limits", "1/m"], "no log was given: name a file, for example LOG=access.log"),
        (vec![empty], "no limits were given, for example LIMITS='30/m,1000/h'"),
        (vec!["--limits", "10/", empty], "invalid limit '10/': missing period"),
        (
            vec!["--limits", "concurrent:5", empty],
            "cannot replay 'concurrent:5': a log does not say how long a request lasted",
        ),
        (
            vec!["--limits", "1/m", "/nowhere/at.all"],
            "cannot read /nowhere/at.all: No such file or directory (os error 2)",
        ),
        (vec!["--limits", "1/m", empty], "there is no line to read: the log is empty"),
        (
            vec!["--limits", "1/m", "--timeline", "/nowhere/at.all", one],
            "cannot write /nowhere/at.all: No such file or directory (os error 2)",
        ),
        (
            vec!["--limits", "1/m", "--fields", "time=ts", one],
            "invalid fields: key= is missing: both are needed, as in 'time=ts,key=request.client_ip'",
        ),
        (
            vec!["--limits", "1/m", "--by", "user", "--fields", "time=ts,key=a", one],
            "FIELDS names whom to limit by key=: leave BY out, or use BY=all",
        ),
        (vec!["--limits", "1/m", "--top", "-1", one], "--top -1: expected a whole number from 0 on"),
        (vec!["--limits", "1/m", "--by", "ip", one], "--by ip: expected address, user, path or all"),
        (vec!["--what", "x"], "invalid option '--what' (--help shows the options)"),
    ] {
        let output = replay(&args);
        assert!(!output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), format!("replay: {message}"));
    }
}
