//! Tests in a real Kubernetes. All share one cluster, which starts with the first of them.
//!
//! To be left out on machines without it, they count as ignored unless they are asked for: `cargo xtask test` does.

mod agent;
mod chain;
mod node;
mod suite;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use suite::Suite;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // They restart what the others use.
    arguments.test_threads = Some(1);
    let suite = Suite::default();
    let trials = [
        suite.trial("every_class_of_pods_has_a_cgroup_of_its_own", node::every_class_of_pods_has_a_cgroup_of_its_own),
        suite.trial("a_pod_reaches_the_api_server_and_trusts_it", node::a_pod_reaches_the_api_server_and_trusts_it),
        suite.trial("pods_in_a_burst", node::pods_in_a_burst),
        suite.trial("a_chain_answers_through_pod_addresses", chain::a_chain_answers_through_pod_addresses),
        suite.trial("a_pod_that_is_made_anew_joins_its_chain", chain::a_pod_that_is_made_anew_joins_its_chain),
        suite.trial("pods_answer_while_the_api_server_is_away", chain::pods_answer_while_the_api_server_is_away),
        suite.trial("pods_answer_while_the_kubelet_is_away", chain::pods_answer_while_the_kubelet_is_away),
        suite.trial(
            "the_chart_installs_an_agent_with_just_its_rights",
            agent::the_chart_installs_an_agent_with_just_its_rights,
        ),
        suite.trial(
            "a_labelled_namespace_carries_and_another_is_untouched",
            agent::a_labelled_namespace_carries_and_another_is_untouched,
        ),
        suite.trial("flow_events_have_the_clusters_names", agent::flow_events_have_the_clusters_names),
        suite.trial("labels_have_their_effect_under_load", agent::labels_have_their_effect_under_load),
        suite.trial("labels_and_annotations_of_pods", agent::labels_and_annotations_of_pods),
        suite.trial("a_burst_of_pods_is_enrolled", agent::a_burst_of_pods_is_enrolled),
        suite.trial("nothing_is_lost_when_the_api_server_is_away", agent::nothing_is_lost_when_the_api_server_is_away),
        suite.trial("no_request_fails_when_the_agent_is_killed", agent::no_request_fails_when_the_agent_is_killed),
        suite.trial("no_request_fails_when_the_agent_is_replaced", agent::no_request_fails_when_the_agent_is_replaced),
        suite.trial("a_static_pod_is_on", agent::a_static_pod_is_on),
        suite.trial("a_node_starts_in_any_order", agent::a_node_starts_in_any_order),
        suite.trial("the_agent_leaves_nothing", agent::the_agent_leaves_nothing),
        // The last: it ends the cluster.
        suite.closing_trial("nothing_is_left_behind"),
    ];
    let conclusion = libtest_mimic::run(&arguments, trials.into());
    suite.stop();
    conclusion.exit_code()
}
