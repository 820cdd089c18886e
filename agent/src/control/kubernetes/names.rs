//! Asks the API server for the names that flow events show: only while somebody watches, and only for what they show.

use std::collections::HashMap;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, ListParams};
use serde::de::DeserializeOwned;

use crate::observe::names::Names;

/// Time between two looks: the API server has others to serve.
const PAUSE: Duration = Duration::from_secs(1);

/// Addresses that are asked for in one look, each of which is a request.
const AT_ONCE: usize = 16;

/// How long the list of services is good for.
const SERVICES: Duration = Duration::from_secs(60);

/// Pods that have ended keep their addresses, which others have by then.
const ALIVE: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Gives `names` what they want, as long as this process lives.
pub(super) fn follow(client: Client, node: String, names: Names) {
    tokio::spawn(async move {
        let mut services = Services::default();
        loop {
            names.asked().await;
            look(&client, &node, &names, &mut services).await;
            tokio::time::sleep(PAUSE).await;
        }
    });
}

/// Learns what is wanted. What cannot be learnt has no name.
async fn look(client: &Client, node: &str, names: &Names, services: &mut Services) {
    let (containers, mut addresses) = names.wanted();
    if containers {
        let pods = pods(client, &format!("spec.nodeName={node},{ALIVE}")).await;
        names.set_containers(pods.iter().flat_map(containers_of));
    }
    addresses.truncate(AT_ONCE);
    if addresses.is_empty() {
        return;
    }
    services.refresh(client).await;
    for address in addresses {
        let name = match services.names.get(&address) {
            Some(service) => Some(format!("service {service}")),
            None => pod_at(client, address).await,
        };
        names.set_address(address, name);
    }
}

/// The pod that has `address`, if it is one alone.
async fn pod_at(client: &Client, address: IpAddr) -> Option<String> {
    let pods = pods(client, &format!("status.podIP={address},{ALIVE}")).await;
    let has_own = |pod: &&Pod| pod.spec.as_ref().is_none_or(|spec| spec.host_network != Some(true));
    let mut own = pods.iter().filter(has_own).map(full_name);
    own.next().filter(|_| own.next().is_none())
}

async fn pods(client: &Client, fields: &str) -> Vec<Pod> {
    list(client, ListParams::default().fields(fields)).await
}

/// The services' names by address.
#[derive(Debug, Default)]
struct Services {
    names: HashMap<IpAddr, String>,
    listed: Option<Instant>,
}

impl Services {
    /// Lists them again, if that was long ago.
    async fn refresh(&mut self, client: &Client) {
        if self.listed.is_some_and(|listed| listed.elapsed() < SERVICES) {
            return;
        }
        self.names.clear();
        for service in list::<Service>(client, ListParams::default()).await {
            let addresses = service.spec.as_ref().and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
            // Those without an address have the word None.
            for address in addresses.iter().filter_map(|address| address.parse().ok()) {
                self.names.insert(address, full_name(&service));
            }
        }
        self.listed = Some(Instant::now());
    }
}

/// A list as the API server has it in its cache, which costs it least.
async fn list<K>(client: &Client, parameters: ListParams) -> Vec<K>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    match Api::<K>::all(client.clone()).list(&parameters.match_any()).await {
        Ok(list) => list.items,
        Err(error) => {
            tracing::warn!("flow events lack names: cannot list {}: {error}", K::plural(&()));
            Vec::new()
        }
    }
}

/// Ids and names of a pod's containers.
fn containers_of(pod: &Pod) -> Vec<(String, String)> {
    let Some(status) = &pod.status else { return Vec::new() };
    let all = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let running = all.into_iter().flatten().flatten();
    running
        .filter_map(|status| {
            // RUNTIME://ID
            let (_, id) = status.container_id.as_ref()?.split_once("://")?;
            Some((id.to_owned(), status.name.clone()))
        })
        .collect()
}

fn full_name(object: &impl kube::ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use baton_tests::api_server::{ApiServer, Fault};
    use kube::Config;
    use serde_json::json;

    use super::*;

    const CART: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
    const HOST: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
    const STOCK: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 7);

    fn server() -> ApiServer {
        let server = ApiServer::start().expect("it starts");
        let status = |address: Ipv4Addr, id: &str| {
            json!({"podIP": address.to_string(), "containerStatuses": [{
                "name": "app", "containerID": format!("containerd://{id}"), "image": "", "imageID": "", "ready": true,
                "restartCount": 0,
            }]})
        };
        for (name, address, host) in [("cart-1", CART, false), ("proxy", HOST, true)] {
            server.set_pod(name, name, &[], &[]);
            server.set_pod_status(name, json!({"hostNetwork": host, "containers": []}), status(address, name));
        }
        server.add_service("stock", &STOCK.to_string());
        server
    }

    async fn learnt(server: &ApiServer) -> [Option<String>; 4] {
        let config = Config::new(server.address().parse().expect("an address"));
        let (client, names) = (Client::try_from(config).expect("a client"), Names::default());
        let ask = || {
            let address = |address: Ipv4Addr| names.address(address.into());
            [names.container("cart-1"), address(CART), address(HOST), address(STOCK)]
        };
        assert_eq!(ask(), [None, None, None, None]);
        look(&client, "here", &names, &mut Services::default()).await;
        let answers = ask();
        assert_eq!(names.wanted(), (false, vec![]), "what has no name is not asked for again at once");
        answers
    }

    #[tokio::test]
    async fn what_is_shown_gets_its_names() {
        let named = |name: &str| Some(name.to_owned());
        // All pods on a node's network have its address.
        let expected = [named("app"), named("shop/cart-1"), None, named("service shop/stock")];
        assert_eq!(learnt(&server()).await, expected);
    }

    #[tokio::test]
    async fn without_an_answer_nothing_has_a_name() {
        let server = server();
        server.set_fault(Some(Fault::Forbidden));
        assert_eq!(learnt(&server).await, [None, None, None, None]);
    }
}
