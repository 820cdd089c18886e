//! Which service a workload is, for a tracing back-end.

/// Characters of the names that Kubernetes makes up (k8s.io/apimachinery, `util/rand`).
const MADE_UP: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Service {
    pub(super) name: String,
    pub(super) namespace: Option<String>,
    pub(super) pod: Option<String>,
    pub(super) container: Option<String>,
}

impl Service {
    /// The service of `workload`, in Kubernetes `NAMESPACE/POD`, in which `container` runs.
    pub(super) fn of(workload: &str, container: Option<&str>) -> Self {
        let Some((namespace, pod)) = workload.split_once('/') else {
            return Self { name: workload.to_owned(), ..Self::default() };
        };
        Self {
            name: owner(pod).to_owned(),
            namespace: Some(namespace.to_owned()),
            pod: Some(pod.to_owned()),
            container: container.map(str::to_owned),
        }
    }
}

/// What a pod's controller is called, as its name tells: `cart` of `cart-7d4b9c6f5d-x2x8z` (Deployment), `cart-x2x8z`
/// (DaemonSet, Job) and `cart-0` (StatefulSet).
fn owner(pod: &str) -> &str {
    let is_made_up = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|letter| MADE_UP.contains(&letter))
    };
    match pod.rsplit_once('-') {
        Some((rest, last)) if is_made_up(last, 5..=5) => match rest.rsplit_once('-') {
            Some((owner, hash)) if is_made_up(hash, 6..=10) => owner,
            _ => rest,
        },
        Some((rest, last)) if last.bytes().all(|letter| letter.is_ascii_digit()) => rest,
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_belong_to_what_made_them() {
        for (pod, name) in [
            ("cart-7d4b9c6f5d-x2x8z", "cart"),
            ("my-cart-x2x8z", "my-cart"),
            ("db-0", "db"),
            ("db-main", "db-main"),
            ("cart", "cart"),
        ] {
            assert_eq!(owner(pod), name, "{pod}");
        }
    }

    #[test]
    fn a_workload_outside_of_kubernetes_is_a_service() {
        assert_eq!(
            Service::of("shop.service", None),
            Service { name: "shop.service".to_owned(), ..Service::default() }
        );
        let cart = Service::of("shop/cart-0", Some("app"));
        assert_eq!(
            (cart.name.as_str(), cart.namespace.as_deref(), cart.container.as_deref()),
            ("cart", Some("shop"), Some("app"))
        );
    }
}
