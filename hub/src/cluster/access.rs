//! Who a token of the cluster's belongs to, and what its RBAC lets that account do at the hub.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, api::PostParams};
use secrecy::{ExposeSecret as _, SecretString};

use super::Cluster;
use crate::error::Result;

/// The group of the hub's virtual resource: it is in no cluster, only in its rules.
const GROUP: &str = "cloudcore.io";
const RESOURCE: &str = "roles";
const VERB: &str = "use";

/// An account of the cluster's, as its API server knows it.
#[derive(Debug)]
pub struct Account(UserInfo);

impl Account {
    /// `system:serviceaccount:NAMESPACE:NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.username.as_deref().unwrap_or_default()
    }

    /// Whether it is a `ServiceAccount`, and no person.
    #[must_use]
    pub fn is_service_account(&self) -> bool {
        self.name().starts_with("system:serviceaccount:")
    }
}

impl Cluster {
    /// Whose token this is (`TokenReview`); `None` where the cluster does not know it.
    ///
    /// # Errors
    /// API-009 when there is no cluster, it is away, or does not let the hub ask.
    pub async fn account_of(&self, token: &SecretString) -> Result<Option<Account>> {
        let review = &TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.expose_secret().to_owned()),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let parameters = &PostParams::default();
        let asked = self.connection.call(|client| async move {
            Api::<TokenReview>::all(client).create(parameters, review).await
        });
        let status = asked.await?.status.unwrap_or_default();
        Ok(status.user.filter(|_| status.authenticated == Some(true)).map(Account))
    }

    /// Whether an account may `use` this one of the `roles` of `cloudcore.io`
    /// (`SubjectAccessReview`).
    ///
    /// # Errors
    /// API-009, as above.
    pub async fn may_use(&self, account: &Account, role: &str) -> Result<bool> {
        let UserInfo { username, uid, groups, extra } = account.0.clone();
        let review = &SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: username,
                uid,
                groups,
                extra,
                resource_attributes: Some(ResourceAttributes {
                    group: Some(GROUP.into()),
                    resource: Some(RESOURCE.into()),
                    name: Some(role.to_owned()),
                    verb: Some(VERB.into()),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let parameters = &PostParams::default();
        let asked = self.connection.call(|client| async move {
            Api::<SubjectAccessReview>::all(client).create(parameters, review).await
        });
        Ok(asked.await?.status.is_some_and(|status| status.allowed))
    }
}
