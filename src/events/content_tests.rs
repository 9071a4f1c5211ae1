use super::*;
use crate::domain::CustomerId;
use crate::domain::EventId;
use crate::events::Event;
use crate::events::content::write_content;

fn name(text: &str) -> Name {
    Name::try_new(text).unwrap()
}

fn kinds() -> Vec<EventKind> {
    let eur = Currency::try_new("EUR").unwrap();
    let mut kinds = vec![
        EventKind::Purchase(Purchase {
            amount: Money::from_micros(12_340_000),
            currency: eur,
            items: 3,
            category: Some(name("GROCERY")),
            sales_channel: None,
            discount: Money::from_micros(1),
        }),
        EventKind::Refund(Refund { amount: Money::from_micros(7), currency: Currency::NONE }),
        EventKind::Activity(Activity { name: name("visit"), device: Some(name("phone")) }),
        EventKind::Activity(Activity { name: name("Zoë"), device: None }),
        EventKind::Cart(Cart::Updated),
        EventKind::Cart(Cart::Cleared),
    ];
    for stage in [ContactStage::Delivered, ContactStage::Opened, ContactStage::Clicked] {
        let (campaign, channel) = (name("win_back"), Channel::ContentCard);
        kinds.push(EventKind::Contact(Contact { campaign, channel, stage }));
    }
    for severity in [Severity::Minor, Severity::Serious, Severity::Critical] {
        kinds.push(EventKind::Feedback(Feedback::Complaint { severity }));
    }
    kinds.extend(
        [
            Feedback::TicketOpened { ticket: name("T-1"), critical: true },
            Feedback::TicketClosed { ticket: name("T-1") },
            Feedback::Nps(10),
            Feedback::Csat(1),
        ]
        .map(EventKind::Feedback),
    );
    let full = Profile {
        consents: vec![(Channel::Email, true), (Channel::Sms, false)],
        reachable: vec![(Channel::Push, true)],
        email_known: Some(true),
        do_not_contact: Some(false),
        loyalty_member: None,
        loyalty_points: Some(u32::MAX),
        b2b: Some(true),
        contact_people: None,
        csm_changed: Some(Day::from_number(-3)),
        persona: Some(name("keen")),
        acquisition_channel: None,
        tags: Some(vec![name("a"), name("b")]),
        has_updates: None,
    };
    let told = Profile { has_updates: Some(false), tags: Some(Vec::new()), ..full.clone() };
    kinds.extend([full, told, Profile::default()].map(|p| EventKind::Profile(Box::new(p))));
    kinds
}

#[test]
fn content_is_read_back_as_it_was_and_no_prefix_of_it_is() {
    let mut reader = KindReader::default();
    for kind in kinds() {
        let event = Event {
            customer: CustomerId::try_new("Zoë 7").unwrap(),
            id: EventId::from_bits(0),
            time: Timestamp::from_micros(-5),
            day: Day::from_number(-1),
            kind,
        };
        let mut content = Vec::new();
        write_content(&event, &mut content);
        let (customer, end) = customer_of(&content).unwrap();
        assert_eq!((customer, time_of(&content[end..])), ("Zoë 7", Some(event.time)));
        assert_eq!(reader.read(&content[end..]), Some(event.kind.clone()));
        assert!(brief_of(&content[end..]).is_some());
        for cut in 0..content.len() - end {
            // A profile without its last byte is the older form of one.
            let found = reader.read(&content[end..end + cut]);
            assert_ne!(found, Some(event.kind.clone()), "{cut} bytes");
        }
    }
}

#[test]
fn names_are_shared_and_forgotten_in_turn() {
    let mut reader = KindReader::default();
    for at in 0..NAMES_MAX * 3 {
        let text = format!("n{}", at % (NAMES_MAX + 9));
        let mut content = Vec::new();
        let kind = EventKind::Activity(Activity { name: name(&text), device: None });
        let event = Event {
            customer: CustomerId::try_new("a").unwrap(),
            id: EventId::from_bits(0),
            time: Timestamp::from_micros(0),
            day: Day::from_number(0),
            kind,
        };
        write_content(&event, &mut content);
        assert_eq!(reader.read(&content[5..]), Some(event.kind));
    }
    assert_eq!(reader.names.len(), NAMES_MAX);
}
