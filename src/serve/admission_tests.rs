use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn now(turn: Result<Turn, Refusal>) -> Permit {
    match turn {
        Ok(Turn::Now(permit)) => permit,
        Ok(Turn::Later(_)) => panic!("it has to wait"),
        Err(refusal) => panic!("{refusal:?}"),
    }
}

fn later(turn: Result<Turn, Refusal>) -> oneshot::Receiver<Permit> {
    match turn {
        Ok(Turn::Later(called)) => called,
        Ok(Turn::Now(_)) => panic!("it may begin"),
        Err(refusal) => panic!("{refusal:?}"),
    }
}

/// Two at work, two waiting, in a class whose limit stays.
fn two() -> Admission {
    Admission::new(2, 1)
}

const FIXED: Class = Class::Intake;

#[tokio::test(start_paused = true)]
async fn turns_come_in_order_and_beyond_the_line_calls_are_refused() {
    let gate = two();
    let first = now(gate.enter(FIXED, SECOND));
    let second = now(gate.enter(FIXED, SECOND));
    let (mut third, mut fourth) =
        (later(gate.enter(FIXED, SECOND)), later(gate.enter(FIXED, SECOND)));
    assert!(matches!(gate.enter(FIXED, SECOND), Err(Refusal::Full)));
    assert_eq!(gate.look_at(FIXED, Duration::ZERO, SECOND), Some(Refusal::Full));
    assert_eq!(gate.look(FIXED), Look { n_working: 2, n_waiting: 2, limit: 2 });
    assert!(third.try_recv().is_err());
    drop(first);
    let third = third.try_recv().unwrap();
    assert!(fourth.try_recv().is_err());
    drop((second, third));
    drop(fourth.try_recv().unwrap());
    assert_eq!(gate.look(FIXED), Look { n_working: 0, n_waiting: 0, limit: 2 });
}

#[tokio::test(start_paused = true)]
async fn who_left_the_line_takes_no_turn_and_no_place() {
    let gate = two();
    let held = [now(gate.enter(FIXED, SECOND)), now(gate.enter(FIXED, SECOND))];
    drop(later(gate.enter(FIXED, SECOND)));
    drop(later(gate.enter(FIXED, SECOND)));
    // Their places in the line are free again.
    let mut waiting = later(gate.enter(FIXED, SECOND));
    drop(held);
    drop(waiting.try_recv().unwrap());
    // A permit that was sent and never taken out comes back.
    let held = [now(gate.enter(FIXED, SECOND)), now(gate.enter(FIXED, SECOND))];
    let waiting = later(gate.enter(FIXED, SECOND));
    drop(held);
    assert_eq!(gate.look(FIXED).n_working, 1);
    drop(waiting);
    assert_eq!(gate.look(FIXED).n_working, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_time_would_be_over_is_refused_on_arrival() {
    let gate = two();
    let one = now(gate.enter(FIXED, SECOND));
    tokio::time::sleep(ms(100)).await;
    one.done();
    let held = [now(gate.enter(FIXED, ms(1))), now(gate.enter(FIXED, ms(1)))];
    // 50 ms of waiting for one of two places, then 100 ms of work, and half as much to spare.
    assert!(matches!(gate.enter(FIXED, ms(199)), Err(Refusal::TooLate)));
    drop(later(gate.enter(FIXED, ms(201))));
    assert!(gate.is_worth_it(FIXED, ms(101)) && !gate.is_worth_it(FIXED, ms(99)));
    // Once there is room anybody is let in, so that what is expected can become shorter again.
    drop(held);
    now(gate.enter(FIXED, ms(1))).done();
}

#[tokio::test(start_paused = true)]
async fn classes_do_not_wait_for_each_other() {
    let gate = two();
    let _held = [now(gate.enter(FIXED, SECOND)), now(gate.enter(FIXED, SECOND))];
    drop(now(gate.enter(Class::Batch, SECOND)));
    // Streams do not wait: they would wait for ever.
    let _streams: Vec<Permit> = (0..2).map(|_| now(gate.enter(Class::Stream, SECOND))).collect();
    assert!(matches!(gate.enter(Class::Stream, SECOND), Err(Refusal::Full)));
}

/// Runs a machine of `cores`, each call of which needs `work`, at the limit for a while; answers
/// the limit that comes out.
async fn settle(gate: &Admission, work: Duration, cores: usize, rounds: usize) -> usize {
    for _ in 0..rounds {
        let limit = gate.look(Class::Interactive).limit;
        let held: Vec<Permit> =
            (0..limit).map(|_| now(gate.enter(Class::Interactive, SECOND))).collect();
        // All at once on so few cores: each takes as long as its share allows.
        let share = u32::try_from(limit.div_ceil(cores)).unwrap();
        tokio::time::sleep(work * share).await;
        held.into_iter().for_each(Permit::done);
    }
    gate.look(Class::Interactive).limit
}

#[tokio::test(start_paused = true)]
async fn the_limit_falls_while_calls_take_longer_and_rises_while_they_do_not() {
    let gate = Admission::new(512, 2);
    // Undisturbed for a while: as many cores as calls.
    let free = settle(&gate, ms(5), 1_000, 3_000).await;
    assert!(free > 200, "{free}");
    let full = settle(&gate, ms(5), 4, 200).await;
    assert!((8..=40).contains(&full), "{full}");
    let again = settle(&gate, ms(5), 1_000, 3_000).await;
    assert!(again > 200, "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_may_take_half_of_its_time_and_calls_that_keep_coming_a_moment() {
    let gate = two();
    let look = |waited: u64, time: u64| gate.look_at(FIXED, ms(waited), ms(time));
    assert_eq!((look(29, 60), look(49, 1_000), look(3, 60)), (None, None, None));
    // Other classes have not been waiting.
    let other = || gate.look_at(Class::Interactive, ms(30), SECOND);
    assert_eq!(look(31, 60), Some(Refusal::TooLate));
    for _ in 0..5 {
        assert_eq!((look(1, 60), look(3, 60), other()), (None, Some(Refusal::Full), None));
        tokio::time::sleep(ms(900)).await;
    }
    // After a second without refusals a burst may wait again, but not for ever.
    tokio::time::sleep(ms(101)).await;
    assert_eq!((look(29, 60), look(51, 1_000)), (None, Some(Refusal::TooLate)));
}
