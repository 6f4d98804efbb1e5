use super::*;

fn quotes() -> Quotes {
    cometbox_guest::test::plugin(json!({})).expect("good settings")
}

fn quote(symbol: &str, price: f64) -> Message {
    json!({"symbol": symbol, "price": price, "time": 1_262_304_000_000_u64}).into()
}

/// IBM and MSFT have a last price, SUNW has none.
fn market() -> Context {
    Context::test()
        .value("quotes/last/IBM", &quote("IBM", 101.5).collapse("IBM"))
        .value("quotes/last/MSFT", &quote("MSFT", 28.0).collapse("MSFT"))
}

#[test]
fn a_newcomer_gets_the_last_prices() {
    let open = Open::test(json!({"watch": ["IBM", "SUNW"]}));
    let expected = Accept::new()
        .per_second(5)
        .first(quote("IBM", 101.5).collapse("IBM"))
        .join("IBM")
        .join("SUNW");
    assert_eq!(quotes().on_open(&market(), &open), Ok(expected));
}

#[test]
fn the_choice_can_change() {
    let ann = Session::test("ann", ());
    let data = json!({"watch": ["MSFT", "SUNW"], "unwatch": ["IBM"]});
    let expected = Outcome::from([
        leave("ann", "IBM"),
        join("ann", "MSFT"),
        send("ann", quote("MSFT", 28.0)).collapse("MSFT"),
        join("ann", "SUNW"),
    ]);
    assert_eq!(quotes().on_message(&market(), &ann, data.into()), Ok(expected));
}

#[test]
fn a_price_is_kept_and_goes_to_its_watchers() {
    let published = quotes().on_publish(&market(), Address::default(), quote("IBM", 102.0));
    let expected = PublishOutcome::keep()
        .then(put("quotes/last/IBM", &quote("IBM", 102.0).collapse("IBM")))
        .then(send_group("IBM", quote("IBM", 102.0)).collapse("IBM"));
    assert_eq!(published, Ok(expected));
}

#[test]
fn what_is_addressed_is_delivered_as_addressed() {
    let to = Address::default().group("IBM");
    let published = quotes().on_publish(&market(), to, json!("the market closes").into());
    assert_eq!(published, Ok(PublishOutcome::deliver()));
}

#[test]
fn what_is_no_quote_is_refused() {
    for data in [
        json!({"symbol": "IBM"}),
        json!({"symbol": "IBM", "price": "high", "time": 0}),
        json!({"symbol": "", "price": 1, "time": 0}),
        json!({"symbol": "I B M", "price": 1, "time": 0}),
        json!("IBM"),
    ] {
        let published = quotes().on_publish(&market(), Address::default(), data.clone().into());
        assert!(matches!(published, Err(Error::Rejected { status: 400, .. })), "{data}");
    }
}

#[test]
fn requests_are_checked() {
    let many: Vec<String> = (0..101).map(|n| format!("S{n}")).collect();
    for body in [json!({"watch": many}), json!({"watch": [""]}), json!({"wacht": ["IBM"]})] {
        let opened = quotes().on_open(&market(), &Open::test(body.clone()));
        assert!(matches!(opened, Err(Error::Rejected { status: 400, .. })), "{body}");
        let sent = quotes().on_message(&market(), &Session::test("ann", ()), body.clone().into());
        assert!(matches!(sent, Err(Error::Rejected { status: 400, .. })), "{body}");
    }
    assert_eq!(
        quotes().on_open(&market(), &Open::test(json!({}))),
        Ok(Accept::new().per_second(5)),
    );
}

#[test]
fn the_rate_is_a_setting() {
    let made = |rate| cometbox_guest::test::plugin::<Quotes>(json!({"updates_per_second": rate}));
    assert_eq!(made(0).err(), made(1001).err());
    assert!(made(0).is_err());
    let quick = made(50).expect("good settings");
    let accept = quick.on_open(&market(), &Open::test(json!({}))).expect("accepted");
    assert_eq!(accept.limits.per_second, Some(50));
}
