use super::*;
use futures_util::FutureExt;

fn cluster() -> Arc<Cluster> {
    let spec = |port| NodeSpec {
        host: "db".into(),
        port,
        weight: 1,
        name: None,
    };
    Cluster::new(&[spec(1), spec(2)], &Metrics::new("0").unwrap())
}

#[test]
fn nodes_are_numbered_as_configured_and_start_unchecked() {
    let cluster = cluster();
    assert_eq!(cluster.node(NodeId(1)).unwrap().label, "db:2");
    assert!(cluster.node(NodeId(2)).is_none());
    let view = cluster.view();
    assert_eq!(view.primary, None);
    assert!(
        view.nodes
            .iter()
            .zip(0..)
            .all(|(state, id)| state.node.id == NodeId(id))
    );
}

#[tokio::test]
async fn a_waiter_is_woken_by_a_new_generation_and_not_by_a_new_lag() {
    let cluster = cluster();
    let mut waiter = Box::pin(cluster.changed(0));
    assert!(waiter.as_mut().now_or_never().is_none());

    let mut view = View::clone(&cluster.view());
    view.nodes[1].lag_bytes = Some(9);
    cluster.publish(view.clone());
    assert!(waiter.as_mut().now_or_never().is_none());
    assert_eq!(cluster.view().nodes[1].lag_bytes, Some(9));

    view.generation = 1;
    cluster.publish(view);
    waiter.await;
    cluster.changed(0).await;
    assert!(cluster.changed(1).now_or_never().is_none());
}

#[tokio::test]
async fn a_crowd_of_suspicions_is_one_look_at_one_node() {
    let cluster = cluster();
    for _ in 0..100 {
        cluster.suspect(NodeId(1));
    }
    cluster.suspect(NodeId(77));
    assert!(cluster.woken(NodeId(0)).now_or_never().is_none());
    cluster.woken(NodeId(1)).await;
    assert!(cluster.woken(NodeId(1)).now_or_never().is_none());
}

#[tokio::test]
async fn the_first_wish_for_positions_wakes_every_probe_and_lasts() {
    let cluster = cluster();
    assert!(!cluster.positions_wanted());
    cluster.want_positions();
    cluster.want_positions();
    assert!(cluster.positions_wanted());
    cluster.woken(NodeId(0)).await;
    cluster.woken(NodeId(1)).await;
    assert!(cluster.woken(NodeId(1)).now_or_never().is_none());
}

#[test]
fn a_wish_for_positions_runs_out() {
    let second = 1_000_000;
    assert!(wanted(3 * second, 2 * second));
    assert!(!wanted(5 * second, 2 * second));
    assert!(!wanted(5, clock::NEVER));
}
