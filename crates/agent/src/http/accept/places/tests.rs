//! Places under floods: who gives way, who is timed out, and who is let in all the same.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

fn places() -> Places {
    Places::of(64, Metrics::new().unwrap())
}

fn local() -> Origin {
    Origin::of(Ipv6Addr::LOCALHOST.into())
}

fn remote(last: u8) -> Origin {
    Origin::of(IpAddr::from([192, 0, 2, last]))
}

fn is_cut(place: &Place) -> bool {
    place.out.is_cancelled()
}

/// Takes so many places, each by a client that sends a head by half.
fn half_open(places: &Places, origin: Origin, count: usize) -> Vec<Place> {
    let all: Vec<Place> = (0..count).map(|_| places.take(origin).unwrap()).collect();
    all.iter().for_each(|place| place.read(true));
    all
}

fn refused(places: &Places) -> u64 {
    let families = places.0.metrics.registry().gather();
    let family = families.iter().find(|it| it.name() == "modemfleet_http_refused_total").unwrap();
    let by_reason = |reason: &str| {
        let has = |it: &&prometheus::proto::Metric| it.get_label()[0].value() == reason;
        family.get_metric().iter().find(has).unwrap().get_counter().get_value()
    };
    assert!(by_reason("wrong_token") < 0.5);
    (0..)
        .find(|number| crate::metrics::scrape::count(*number) + 0.5 > by_reason("connections"))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_phase_has_its_time() {
    let places = places();
    let [silent, dripping, idle, again, served] = [(); 5].map(|()| places.take(local()).unwrap());
    dripping.read(true);
    for place in [&idle, &again, &served] {
        place.read(true);
        place.begin();
    }
    idle.end();
    again.end();
    for second in 1..=80 {
        tokio::time::advance(Duration::from_secs(1)).await;
        dripping.read(true);
        if second == 20 {
            again.read(true);
        }
        places.look();
        assert_eq!(is_cut(&silent), second >= 10, "{second}");
        assert_eq!(is_cut(&dripping), second >= 10, "{second}");
        assert_eq!(is_cut(&again), second >= 30, "{second}");
        assert_eq!(is_cut(&idle), second >= 75, "{second}");
        assert!(!is_cut(&served));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off_and_a_quiet_stream_is_not() {
    let places = places();
    let [stuck, slow, quiet] = [(); 3].map(|()| places.take(local()).unwrap());
    for place in [&stuck, &slow, &quiet] {
        place.begin();
        assert!(place.hold(None));
        place.written(true);
    }
    stuck.written(false);
    for second in 1..=3_600 {
        tokio::time::advance(Duration::from_secs(1)).await;
        slow.written(second % 29 == 0);
        places.look();
        assert_eq!(is_cut(&stuck), second >= 30, "{second}");
        assert!(!is_cut(&slow) && !is_cut(&quiet), "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_whose_answers_are_delayed_keep_no_one_out() {
    let places = places();
    let guesses = half_open(&places, remote(1), 52);
    guesses.iter().for_each(|place| (place.begin(), place.delay()).1);
    let new = places.take(remote(2)).unwrap();
    assert!(!new.is_kept() && is_cut(&guesses[0]) && !is_cut(&guesses[1]));
}

#[tokio::test(start_paused = true)]
async fn the_unfinished_give_way_and_who_is_served_or_new_does_not() {
    let places = places();
    let served: Vec<Place> = half_open(&places, local(), 10);
    served.iter().for_each(Place::begin);
    let idle = half_open(&places, local(), 10);
    idle.iter().for_each(|place| (place.begin(), place.end()).1);
    // 64 places without 8 for the socket and 4 for who asks how the agent is.
    let flood = half_open(&places, local(), 32);
    assert_eq!(refused(&places), 0);
    for (number, first) in flood.iter().enumerate() {
        assert!(!is_cut(first));
        let new = places.take(local()).unwrap();
        assert!(!new.is_kept() && is_cut(first), "{number}");
        std::mem::forget(new);
    }
    assert_eq!(refused(&places), 32);
    assert!(!served.iter().chain(&idle).any(is_cut));
    // All that are left are new, served or idle.
    let _new: Vec<Place> = idle.iter().map(|_| places.take(local()).unwrap()).collect();
    assert!(idle.iter().all(is_cut) && !served.iter().any(is_cut));
}

#[tokio::test(start_paused = true)]
async fn other_hosts_give_way_first_and_of_them_the_one_with_most_connections() {
    let places = places();
    let ours = half_open(&places, local(), 20);
    let good = half_open(&places, remote(1), 2);
    let flood = half_open(&places, remote(2), 30);
    let newcomers = half_open(&places, remote(1), 13);
    assert!(flood.iter().take(13).all(is_cut));
    assert!(!good.iter().any(is_cut) && !ours.iter().any(is_cut));
    drop(newcomers);
    let many: Vec<_> = (10..250).map(|last| half_open(&places, remote(last), 1)).collect();
    assert!(!ours.iter().any(is_cut) && many[0].iter().all(is_cut));
}

#[tokio::test(start_paused = true)]
async fn if_all_are_served_some_places_are_kept() {
    let places = places();
    let all = half_open(&places, local(), 52);
    all.iter().for_each(Place::begin);
    let kept: Vec<Place> = (0..4).map(|_| places.take(local()).unwrap()).collect();
    assert!(kept.iter().all(Place::is_kept));
    kept.iter().for_each(Place::begin);
    assert!(places.take(local()).is_none());
    let socket: Vec<Place> = (0..8).map(|_| places.take(Origin::Socket).unwrap()).collect();
    assert!(!socket.iter().any(Place::is_kept));
    // A socket's connection gives way to another one, and never to TCP.
    socket.iter().for_each(|place| place.read(true));
    assert!(places.take(local()).is_none() && !socket.iter().any(is_cut));
    let _another = places.take(Origin::Socket).unwrap();
    assert!(is_cut(&socket[0]) && !all.iter().any(is_cut));
    drop(kept);
    assert!(places.take(local()).unwrap().is_kept());
    drop(all);
    assert!(!places.take(local()).unwrap().is_kept());
}

#[tokio::test(start_paused = true)]
async fn a_kept_place_stays_one_when_its_connection_gives_way() {
    let places = places();
    let all = half_open(&places, local(), 52);
    all.iter().for_each(Place::begin);
    let unfinished = half_open(&places, local(), 4);
    let later: Vec<Place> = (0..4).map(|_| places.take(local()).unwrap()).collect();
    assert!(unfinished.iter().all(is_cut) && later.iter().all(Place::is_kept));
    all[0].end();
    // One that is no kept place is better, since it answers all paths.
    later[0].read(true);
    assert!(
        !places.take(local()).unwrap().is_kept() && is_cut(&all[0]) && !later.iter().any(is_cut)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_came_who_asks_how_the_agent_is_and_the_socket_have_their_places(
        steps in prop::collection::vec((0..12_u8, 0..6_usize, any::<prop::sample::Index>()), 0..400),
    ) {
        let places = places();
        let sockets = [Origin::Socket, Origin::Socket, Origin::PublishSocket];
        let origins = [&sockets[..], &[local(), remote(1), remote(2)]].concat();
        let mut held: Vec<Place> = Vec::new();
        for (step, origin, at) in steps {
            match step {
                0..=6 => held.extend(places.take(origins[origin])),
                7 => held.iter().for_each(|place| place.read(true)),
                8 => held.iter().for_each(Place::begin),
                _ if held.is_empty() => {}
                9 => held[at.index(held.len())].end(),
                10 => held[at.index(held.len())].read(true),
                _ => drop(held.swap_remove(at.index(held.len()))),
            }
        }
        // What has a kept place has it for one answer.
        held.retain(|place| !place.is_kept() && !is_cut(place));
        held.iter().for_each(Place::begin);
        let of_socket = held.iter().filter(|place| place.origin() == Origin::Socket).count();
        let sockets = vec![Origin::Socket; 8_usize.saturating_sub(of_socket)];
        for origin in [vec![local(); 2], vec![Origin::PublishSocket; 2], sockets].concat() {
            let place = places.take(origin);
            prop_assert!(place.is_some(), "{origin}");
            held.extend(place);
            held.iter().for_each(Place::begin);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_idle_connections_gives_way_before_the_unfinished_of_others() {
    let places = places();
    let honest = half_open(&places, remote(1), 10);
    let flood = half_open(&places, remote(2), 42);
    flood.iter().for_each(|place| (place.begin(), place.end()).1);
    let new: Vec<Place> = (0..31).map(|_| places.take(remote(3)).unwrap()).collect();
    assert!(flood.iter().take(31).all(is_cut) && !honest.iter().any(is_cut), "{}", new.len());
    // Of the two hosts that have about as many each it is who sends half a head.
    let _new: Vec<Place> = (0..5).map(|_| places.take(remote(3)).unwrap()).collect();
    assert!(honest.iter().any(is_cut));
}

#[tokio::test(start_paused = true)]
async fn sockets_use_what_is_free_and_their_idle_connections_give_way_to_tcp() {
    let places = places();
    let idle: Vec<Place> = (0..60).map(|_| places.take(Origin::Socket).unwrap()).collect();
    idle.iter().for_each(|place| (place.begin(), place.end()).1);
    let tcp: Vec<Place> = (0..52).map(|_| places.take(local()).unwrap()).collect();
    assert!(!tcp.iter().any(Place::is_kept), "they are served on any path");
    assert!(idle.iter().take(52).all(is_cut) && !idle.iter().skip(52).any(is_cut));
    assert!(places.take(local()).unwrap().is_kept(), "an eighth stays the socket's");
    drop((idle, tcp));
    let served: Vec<Place> = (0..60).map(|_| places.take(Origin::Socket).unwrap()).collect();
    served.iter().for_each(Place::begin);
    assert!(places.take(Origin::Socket).is_none());
    assert!(places.take(local()).unwrap().is_kept() && !served.iter().any(is_cut));
}

#[tokio::test(start_paused = true)]
async fn the_publishing_socket_has_the_rights_of_a_host_and_leaves_the_other_socket_its_places() {
    let places = places();
    let publishers: Vec<Place> =
        (0..56).map(|_| places.take(Origin::PublishSocket).unwrap()).collect();
    publishers.iter().for_each(Place::begin);
    assert!(publishers.iter().skip(52).all(Place::is_kept));
    assert!(places.take(Origin::PublishSocket).is_none());
    let _socket: Vec<Place> = (0..8).map(|_| places.take(Origin::Socket).unwrap()).collect();
    publishers[0].end();
    assert!(!places.take(local()).unwrap().is_kept() && is_cut(&publishers[0]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_counted_once_though_its_request_goes_on() {
    let places = places();
    let all = half_open(&places, local(), 52);
    let _new = places.take(local()).unwrap();
    assert!(is_cut(&all[0]));
    all[0].begin();
    for bytes in [None, Some(ANSWERS)] {
        assert!(!all[0].hold(bytes));
    }
    all[0].refuse();
    assert_eq!(refused(&places), 1);
}

#[tokio::test(start_paused = true)]
async fn memory_for_answers_is_bounded_and_the_slowest_gives_way() {
    const SIZE: u64 = 4 * 1024 * 1024;
    let places = places();
    let all = half_open(&places, local(), 8);
    all.iter().for_each(Place::begin);
    for (number, place) in all.iter().enumerate() {
        assert_eq!(place.hold(Some(SIZE)), number < 6, "{number}");
        assert!(place.hold(Some(SMALL)), "a small one always fits");
    }
    all[3].written(false);
    tokio::time::advance(SLOW).await;
    assert!(all[6].hold(Some(SIZE)) && is_cut(&all[3]));
    assert!(!all[7].hold(Some(SIZE)), "the others read");
    all[0].end();
    assert!(all[7].hold(Some(SIZE)));
    tokio::time::advance(LONG).await;
    // A reader of single bytes gives way after a minute. An answer larger than the bound has all memory to itself.
    let huge = places.take(local()).unwrap();
    assert!(huge.hold(Some(10 * ANSWERS)));
    assert!(!is_cut(&all[0]) && [1, 2, 4, 5, 6, 7].iter().all(|at| is_cut(&all[*at])));
    assert!(!all[0].hold(Some(SIZE)));
}

#[tokio::test(start_paused = true)]
async fn half_of_the_places_may_stream() {
    let places = places();
    let all = half_open(&places, local(), 40);
    all.iter().for_each(Place::begin);
    for (number, place) in all.iter().enumerate() {
        assert_eq!(place.hold(None), number < 32, "{number}");
    }
    all[0].end();
    assert!(all[39].hold(None));
}

#[tokio::test(start_paused = true)]
async fn who_may_publish_and_no_more_has_half_of_the_streams() {
    let places = places();
    let all = half_open(&places, local(), 40);
    for (number, place) in all.iter().enumerate() {
        place.begin();
        place.may_only_publish();
        assert_eq!(place.hold(None), number < 16, "{number}");
    }
    // The right is that of a request.
    all[39].begin();
    assert!(all[39].hold(None) && !all[38].hold(None));
}

#[test]
fn a_host_is_its_address_or_its_network_of_ipv6() {
    let of = |text: &str| Origin::of(text.parse().unwrap());
    assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
    assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    for (text, is_remote) in
        [("127.0.0.1", false), ("::1", false), ("::ffff:127.0.0.1", false), ("192.0.2.1", true)]
    {
        assert_eq!(of(text).is_remote(), is_remote, "{text}");
    }
}
