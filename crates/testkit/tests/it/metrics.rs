//! Tests of the metrics parser.

use testkit::Metrics;

const TEXT: &str = r#"# HELP sent Packets.
# TYPE sent counter
sent_total{worker="0",direction="in"} 3
sent_total{worker="1",direction="in"} 4
sent_total{worker="1",direction="out"} 0
sent_total_of_others 100
uptime_seconds 1.5
# EOF
"#;

#[test]
fn samples_are_summed_by_label() {
    let metrics = Metrics::parse(TEXT);
    assert_eq!(metrics.get("uptime_seconds"), 1.5);
    assert_eq!(metrics.get(r#"sent_total{worker="1",direction="in"}"#), 4.0);
    assert_eq!(metrics.sum("sent_total"), 7);
    assert_eq!(metrics.sum_where("sent_total", &[("worker", "1")]), 4);
    assert_eq!(metrics.sum_where("sent_total", &[("direction", "out")]), 0);
    assert_eq!(metrics.non_zero().count(), 4);
}

#[test]
#[should_panic(expected = "no snet_total")]
fn sum_of_an_unknown_metric_panics() {
    let _ = Metrics::parse(TEXT).sum("snet_total");
}
