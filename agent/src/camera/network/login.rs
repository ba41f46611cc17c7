//! Who we are to a camera: Basic or Digest, as it asks.

use http_auth::{PasswordClient, PasswordParams};

use super::{
    super::address::{Address, Login},
    NetworkError,
    wire::Head,
};

/// Longest challenge that is looked at, bytes.
const MAX_CHALLENGE: usize = 4096;

/// The login of a camera's URL, and the camera's last challenge.
pub(super) struct Guest {
    login: Option<Login>,
    client: Option<PasswordClient>,
}

impl Guest {
    pub(super) fn of(address: &Address) -> Self {
        Self { login: address.login(), client: None }
    }

    /// The value of `Authorization` for a request, once the camera has asked for one.
    pub(super) fn answer(
        &mut self,
        method: &str,
        uri: &str,
    ) -> Result<Option<String>, NetworkError> {
        let (Some(login), Some(client)) = (&self.login, &mut self.client) else { return Ok(None) };
        let (username, password) = (login.user.as_str(), login.password.as_str());
        let params = PasswordParams { username, password, uri, method, body: None };
        let refused = |_| NetworkError::Protocol("its way to log in is not known");
        client.respond(&params).map(Some).map_err(refused)
    }

    /// Takes the challenge of a 401. An error where there is no use in trying again.
    pub(super) fn challenged(&mut self, head: &Head, tried: bool) -> Result<(), NetworkError> {
        if self.login.is_none() {
            return Err(NetworkError::NoLogin);
        }
        // A Digest nonce that grew old is no wrong password; it happens once in a row.
        if tried {
            return Err(NetworkError::WrongLogin);
        }
        let mut builder = PasswordClient::builder();
        for challenge in head.fields("www-authenticate") {
            if challenge.len() > MAX_CHALLENGE {
                return Err(NetworkError::TooLarge("a challenge"));
            }
            builder = builder.challenges(challenge);
        }
        let unknown = |_| NetworkError::Protocol("its way to log in is not known");
        self.client = Some(builder.build().map_err(unknown)?);
        Ok(())
    }
}
