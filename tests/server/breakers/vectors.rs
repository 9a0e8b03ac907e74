//! Every vector of the notes on other breakers, with our outcome.

use crate::breakers::fixtures::{Key, stopped};

#[test]
fn resilience4j() {
    let server = stopped();
    let key = |name, breaker| Key::new(&server, name, breaker);

    // R1: a success never trips.
    assert_eq!(key("r1", "50%/10calls:min=4").run("ffsf"), "ccco");

    // R2: admits at the deadline, not after it.
    let r2 = key("r2", "1:open=1000ms");
    r2.run("f");
    r2.wait_ms(999);
    assert_eq!(r2.deny(), 1);
    r2.wait_ms(1);
    assert!(r2.admit().starts_with("t-"));
    assert_eq!(r2.state(), "half-open");

    // R3: late results change nothing.
    let r3 = key("r3", "50%/4calls:min=4");
    let calls: Vec<_> = (0..7).map(|_| r3.admit()).collect();
    assert!(calls[..4].iter().all(|call| r3.fail(call)));
    assert_eq!(r3.state(), "open");
    let before = r3.digest();
    assert!(!calls[4..].iter().any(|call| r3.ok(call)));
    assert_eq!(r3.digest(), before);

    // R4: ten trials, no eleventh, and results of an earlier epoch are stale.
    let r4 = key("r4", "50%/4calls:min=4:probes=10:open=1s");
    let early = r4.admit();
    r4.run("ffff");
    r4.wait_ms(1000);
    for _ in 0..10 {
        r4.admit();
    }
    assert_eq!(r4.deny(), 60_000);
    for _ in 0..10 {
        assert!(!r4.ok(&early) && !r4.fail(&early));
    }
    assert_eq!((r4.state().as_str(), r4.number("trials_in_flight")), ("half-open", 10));

    // R5: stale successes do not close.
    let r5 = key("r5", "50%/4calls:min=4:probes=2:open=1s");
    let early = r5.admit();
    r5.run("ffff");
    r5.wait_ms(1000);
    let trial = r5.admit();
    assert!(r5.settle("IGNORE", &trial));
    assert!(!r5.ok(&early) && !r5.ok(&early));
    assert_eq!(r5.report(&["OK"]), (false, "half-open".into()));
    assert_eq!(r5.number("trials_in_flight"), 0);

    // R6: stray releases admit no more.
    let r6 = key("r6", "50%/4calls:min=4:probes=2:open=1s");
    let early = r6.admit();
    r6.run("ffff");
    r6.wait_ms(1000);
    let first = r6.admit();
    r6.admit();
    for stray in [Some(&early), None, Some(&early), None, Some(&early)] {
        let counted = match stray {
            Some(token) => r6.settle("IGNORE", token),
            None => r6.report(&["IGNORE"]).0,
        };
        assert!(!counted);
    }
    r6.deny();
    // A trial that is given back makes room once, not twice.
    assert!(r6.settle("IGNORE", &first) && !r6.settle("IGNORE", &first));
    r6.admit();
    r6.deny();

    // R8: slow is longer than, not as long as.
    let r8 = key("r8", "100%/4calls:min=1:slow=100ms:slowrate=50%");
    assert_eq!(r8.report(&["OK", "DUR", "100ms"]), (true, "closed".into()));
    assert_eq!(r8.number("slow"), 0);
    assert_eq!(r8.report(&["OK", "DUR", "101ms"]), (true, "open".into()));
    assert_eq!(r8.number("slow"), 1);

    // R11: back-off doubles until a close.
    let r11 = key("r11", "1:open=1s:backoff=2");
    r11.run("f");
    for seconds in [1, 2, 4, 8] {
        assert_eq!(r11.deny(), seconds * 1000);
        r11.wait_ms(seconds * 1000 - 1);
        assert_eq!(r11.deny(), 1);
        r11.wait_ms(1);
        assert!(r11.fail(&r11.admit()));
    }
    r11.wait_ms(16_000);
    assert!(r11.ok(&r11.admit()));
    assert_eq!(r11.run("f"), "o");
    assert_eq!(r11.deny(), 1000);

    // R12: a force repeated counts from the second.
    let r12 = key("r12", "1");
    server.ok("CB.FORCE r12 OPEN FOR 2000ms");
    r12.wait_ms(500);
    server.ok("CB.FORCE r12 OPEN FOR 2001ms");
    assert_eq!(r12.deny(), 2001);
}

#[test]
fn polly() {
    let server = stopped();
    let key = |name, breaker| Key::new(&server, name, breaker);

    // P1: a success completes `min` without tripping.
    assert_eq!(key("p1", "50%/10s:min=4").run("fffs"), "cccc");

    // P2: a period forgets.
    let p2 = key("p2", "50%/10s:min=4");
    p2.run("ssf");
    p2.wait_ms(10_000);
    assert_eq!(p2.run("f"), "c");
    assert_eq!((p2.number("calls"), p2.number("failures")), (1, 1));

    // P7: one trial at a time.
    let p7 = key("p7", "1:open=1s:lease=5s");
    p7.run("f");
    p7.wait_ms(1000);
    p7.admit();
    assert_eq!(p7.deny(), 5000);

    // P9: a late failure while open changes nothing.
    let p9 = key("p9", "1:open=10s");
    let (first, second) = (p9.admit(), p9.admit());
    assert!(p9.fail(&first));
    p9.wait_ms(9000);
    let before = p9.digest();
    assert!(!p9.fail(&second));
    assert_eq!((p9.digest(), p9.deny()), (before, 1000));
}
