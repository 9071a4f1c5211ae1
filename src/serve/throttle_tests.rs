use super::*;

/// What becomes of calls at a machine that answers `capacity` a window, of which `offered` come.
fn window(throttle: &mut Throttle, now: &mut Instant, offered: u32, capacity: u32) -> f64 {
    let passed = u64::from(offered) * u64::from(throttle.share()) / u64::from(OPEN);
    let passed = u32::try_from(passed).unwrap();
    let answered = passed.min(capacity);
    (0..answered).for_each(|_| throttle.answered());
    (answered..passed).for_each(|_| throttle.refused());
    throttle.turned_away(offered - passed);
    *now += WINDOW;
    throttle.tick(*now);
    f64::from(passed) / f64::from(capacity)
}

#[test]
fn under_overload_a_little_more_passes_than_is_answered() {
    let (mut throttle, mut now) = (Throttle::new(1), Instant::now());
    throttle.tick(now);
    assert!(window(&mut throttle, &mut now, 6_000, 2_000) > 2.9);
    let passed: Vec<f64> = (0..50).map(|_| window(&mut throttle, &mut now, 6_000, 2_000)).collect();
    assert!(passed.iter().all(|passed| (1.0..=1.06).contains(passed)), "{passed:?}");
    assert!(!throttle.is_calm());
}

#[test]
fn when_calls_are_few_again_all_pass_after_one_window_and_it_is_calm_after_some() {
    let (mut throttle, mut now) = (Throttle::new(1), Instant::now());
    throttle.tick(now);
    for _ in 0..10 {
        window(&mut throttle, &mut now, 6_000, 2_000);
    }
    window(&mut throttle, &mut now, 1_000, 2_000);
    assert_eq!(throttle.share(), OPEN);
    assert!(!throttle.is_calm());
    // The same where nobody came at all.
    for _ in 0..10 {
        window(&mut throttle, &mut now, 6_000, 2_000);
    }
    now += WINDOW;
    throttle.tick(now);
    now += WINDOW;
    throttle.tick(now);
    assert_eq!(throttle.share(), OPEN);
    now += CALM_AFTER + WINDOW;
    assert!(throttle.tick(now));
    assert!(throttle.is_calm());
}

#[test]
fn after_a_standstill_it_finds_its_pace_again_within_half_a_second() {
    let (mut throttle, mut now) = (Throttle::new(1), Instant::now());
    throttle.tick(now);
    for _ in 0..10 {
        window(&mut throttle, &mut now, 6_000, 2_000);
    }
    // A fifth of a second in which hardly any was answered.
    for _ in 0..10 {
        window(&mut throttle, &mut now, 6_000, 10);
    }
    assert!(throttle.share() >= 1_310, "{}", throttle.share());
    let n = (0..50).take_while(|_| window(&mut throttle, &mut now, 6_000, 2_000) < 1.0).count();
    assert!(n <= 25, "{n} windows");
}

#[test]
fn a_few_refusals_close_nothing() {
    let (mut throttle, mut now) = (Throttle::new(1), Instant::now());
    throttle.tick(now);
    for _ in 0..100 {
        window(&mut throttle, &mut now, 6, 1);
        assert_eq!((throttle.share(), throttle.is_calm()), (OPEN, true));
    }
}
