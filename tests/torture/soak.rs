//! Full load for a long time: memory stays where it is.

use std::{
    env, fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    harness::{Reply, Server, Wire, eventually},
    size::{record, tries},
    support::Dice,
};

/// Keys that come and go: each lives for seconds after its last use.
const KEYS: usize = 2_000;

/// By then what expires has begun to.
const STEADY: Duration = Duration::from_secs(60);

/// Requests sent at once.
const BATCH: usize = 64;

fn request(chance: &mut Dice) -> Vec<String> {
    let key = format!("key:{}", chance.below(KEYS));
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    match chance.below(8) {
        0 => words(&format!("CB.ACQUIRE b{key} 3/1s:open=1s:lease=1s:idle=2s")),
        1 => words(&format!("CB.REPORT b{key} FAIL BREAKER 3/1s:open=1s:lease=1s:idle=2s")),
        2 => words(&format!("RL.RESERVE 1 r{key} concurrent:3,100/2s TTL 500ms")),
        3 => words(&format!("RL.BATCH EACH 2 {key} 10/s 1 {key} bucket:5/s:name=b 1")),
        4 => words(&format!("RL.ACQUIRE {key} {}/s:name=n{}", 1 + chance.below(90), chance.below(1000))),
        5 => words(&format!("RL.ACQUIRE l{key} 1000/2s,fixed:7/s")),
        6 => words(&format!("CL.THROTTLE c{key} 5 10 2")),
        _ => words(&format!("RL.ACQUIRE {key} 10/s,bucket:20/2s")),
    }
}

/// Used and resident memory, in bytes.
fn memory(server: &Server) -> (usize, usize) {
    let info = server.info("memory");
    let number = |name: &str| info[name].parse().expect("a number");
    (number("used_memory"), number("used_memory_rss"))
}

/// What was seen, as a picture: `FLOODGATE_TORTURE_PICTURE` names its file.
fn draw(path: &Path, samples: &[(Duration, usize, usize)]) {
    const WIDTH: f64 = 800.0;
    const HEIGHT: f64 = 300.0;
    let longest = samples.last().map_or(1.0, |last| last.0.as_secs_f64());
    #[expect(clippy::cast_precision_loss, reason = "a picture")]
    let most = samples.iter().map(|&(_, _, resident)| resident as f64).fold(1.0, f64::max);
    let line = |of: fn(&(Duration, usize, usize)) -> usize, colour: &str| {
        let points: Vec<String> = samples
            .iter()
            .map(|sample| {
                #[expect(clippy::cast_precision_loss, reason = "a picture")]
                let height = HEIGHT - of(sample) as f64 / most * (HEIGHT - 20.0);
                format!("{:.1},{height:.1}", sample.0.as_secs_f64() / longest * WIDTH)
            })
            .collect();
        format!("<polyline fill=\"none\" stroke=\"{colour}\" points=\"{}\"/>", points.join(" "))
    };
    let picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>{}{}\
         <text x=\"8\" y=\"14\">{:.1} MB resident (red) and used (blue) at most, {:.0} s</text></svg>\n",
        line(|sample| sample.1, "steelblue"),
        line(|sample| sample.2, "firebrick"),
        most / 1e6,
        longest
    );
    fs::write(path, picture).expect("room for a picture");
}

/// Twenty minutes at full load (three seconds in `make test`) with keys of every
/// kind that expire: after the first fifth memory does not grow, and in the end
/// nothing is left.
#[test]
fn memory_stays_where_it_is() {
    let seconds = tries(3, 20 * 60);
    let length = Duration::from_secs(seconds as u64);
    let server = Server::start();
    let (before, _) = memory(&server);
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut chance = Dice::told();
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (stop, sent, mut chance) = (Arc::clone(&stop), Arc::clone(&sent), chance.split());
            let mut wire: Wire = server.wire();
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let batch: Vec<_> = (0..BATCH).map(|_| request(&mut chance)).collect();
                    for reply in wire.pipeline(&batch) {
                        assert!(reply.error().is_none(), "{reply:?}");
                    }
                    sent.fetch_add(BATCH, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let start = Instant::now();
    let mut samples = Vec::new();
    while start.elapsed() < length {
        thread::sleep(length / 200);
        let (used, resident) = memory(&server);
        samples.push((start.elapsed(), used, resident));
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("a client does not fail");
    }
    if let Some(path) = env::var_os("FLOODGATE_TORTURE_PICTURE") {
        draw(Path::new(&path), &samples);
    }
    // The most in the second fifth and the most in the last.
    let most = |fifth: usize| {
        let part = &samples[samples.len() * fifth / 5..samples.len() * (fifth + 1) / 5];
        part.iter().map(|sample| sample.1).max().unwrap_or(0)
    };
    let (early, late) = (most(1), most(4));
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 1000, "only {sent} requests: nothing was tried");
    // A short run does not come so far that keys go as fast as they come.
    if length >= STEADY {
        assert!(late < early + early / 4 + 2_000_000, "memory grew from {early} to {late} bytes");
    }
    eventually(Duration::from_secs(60), "every key has expired", || server.line("DBSIZE") == Reply::Int(0));
    // The server shrinks its tables a little at a time.
    eventually(Duration::from_secs(60), "memory is what it was before", || {
        memory(&server).0 < before + 4_000_000
    });
    let grown = format!(", memory from {} to {} KB", early / 1000, late / 1000);
    let what = format!("requests in {seconds} s{}", if length >= STEADY { &grown } else { "" });
    record(&what, sent, "nothing");
}
