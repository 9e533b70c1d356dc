"""The conversation with an authority (RFC 8555): account, order, challenges, certificate.

I/O: HTTPS by the library, and answers to challenges as files. Everything blocks: each attempt has a thread of its own.
Every way of failing comes out as ``Refused``, with a reason in one line and what the authority said about when to come
again. LIMIT: the library reads an answer whole; the authority is one that the operator has chosen, over TLS.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Collection
from typing import Any, cast

import requests
from acme import challenges, crypto_util, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from josepy.errors import Error as JoseError
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC

from pyserve import __version__
from pyserve.acme import challenge_certificate, material
from pyserve.acme.lock import Lock
from pyserve.acme.schedule import Failure, Record, choose_challenge, read_retry_after_s
from pyserve.acme.storage import Storage
from pyserve.config.acme import TOKEN, challenge_certificate_path, token_path
from pyserve.config.model import Acme

REQUEST_TIMEOUT_S = 30
ORDER_TIMEOUT_S = 180.0
NONCE_TRIES = 5
ACCOUNT_WAIT_S = 60.0
_MAX_REASON = 400


class Refused(Exception):
    """An attempt failed; why is in one line."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


def _refusal(
    reason: str, retry_after_s: float | None = None, limited_by: str = "", is_challenge: bool = False
) -> Refused:
    return Refused(Failure(" ".join(reason.split())[:_MAX_REASON], retry_after_s, limited_by, is_challenge))


class _Network(ClientNetwork):
    """Remembers what the last answer said about coming again, and tries a refused nonce more than twice."""

    def __init__(self, key: JWK | None, acme: Acme) -> None:
        super().__init__(
            key,
            alg=ES256,
            verify_ssl=cast(bool, acme.ca or True),  # requests takes a file as well
            user_agent=f"pyserve/{__version__}",
            timeout=REQUEST_TIMEOUT_S,
        )
        self.retry_after_s: float | None = None
        self.is_rate_limited = False
        self.has_no_directory = False
        """Was the last answer that there is nothing at the directory's URL?"""
        self._directory = acme.directory

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        response = super()._send_request(method, url, *args, **kwargs)
        self.retry_after_s = read_retry_after_s(response.headers.get("Retry-After", ""), time.time())
        self.is_rate_limited = response.status_code == 429
        self.has_no_directory = url == self._directory and response.status_code in (403, 404, 405, 410)
        return response

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(NONCE_TRIES - 1):
            try:
                return self._post_once(*args, **dict(kwargs))
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        return self._post_once(*args, **kwargs)


class Client:
    """One conversation. ``say``: who hears of what happens once, as an account that was made."""

    def __init__(self, acme: Acme, storage: Storage, say: Callable[[str], None]) -> None:
        self._acme = acme
        self._storage = storage
        self._say = say
        name = hashlib.sha256("\0".join((acme.directory, acme.email, acme.external_id)).encode()).hexdigest()[:16]
        self._folder_name = name
        self._folder = f"{storage.folder}/accounts/{name}"
        self._network: _Network | None = None

    def close(self) -> None:
        if self._network is not None:
            self._network.session.close()

    def obtain(self, names: Collection[str], record: Record, may_go_on: Callable[[], bool]) -> tuple[bytes, str]:
        """Return the file of a new certificate, proved, and the kind of challenge that proved the names.

        ``may_go_on``: asked before what costs something. Raises ``Refused``.
        """
        try:
            return self._obtain(names, record, may_go_on)
        except Refused:
            raise
        except messages.Error as error:
            raise self._refused(_problem_words(error), is_rate_limited=error.code == "rateLimited") from error
        except errors.ValidationError as error:
            raise self._refused(_validation_words(error), is_challenge=True) from error
        except errors.IssuanceError as error:
            raise self._refused(_problem_words(error.error)) from error
        except errors.TimeoutError as error:
            raise self._refused(f"not done after {ORDER_TIMEOUT_S:g} s") from error
        except requests.exceptions.RequestException as error:
            raise _refusal(_network_words(error, self._acme.directory)) from error
        except errors.ClientError as error:
            raise self._refused(_answer_words(error)) from error
        except (errors.Error, JoseError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise self._refused(f"the authority has answered what can't be understood: {error!r}") from error
        except material.Unfit as error:
            raise _refusal(str(error)) from error
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            raise _refusal(f"the storage fails: {where}{error.strerror}") from error

    def _refused(self, reason: str, *, is_rate_limited: bool = False, is_challenge: bool = False) -> Refused:
        """What the last answer said about coming again goes with it."""
        network = self._network
        if network is None:
            return _refusal(reason)
        if network.has_no_directory:
            reason = f"{reason}; is acme.directory right?"
        limited_by = self._acme.directory if is_rate_limited or network.is_rate_limited else ""
        return _refusal(reason, network.retry_after_s, limited_by, is_challenge)

    def renewal_window(self, certificate_pem: bytes) -> tuple[float, float, float | None] | None:
        """Return when the authority wants a certificate renewed (start, end) and when it wants to be asked again.

        None: it has no wish, or nobody can tell.
        """
        try:
            network = self._network = _Network(None, self._acme)
            directory = ClientV2.get_directory(self._acme.directory, network)
            url = f"{directory['renewalInfo']}/{material.renewal_id(certificate_pem)}"
            response = network.get(url)
            window = messages.RenewalInfo.from_json(response.json()).suggested_window
            return window.start.timestamp(), window.end.timestamp(), network.retry_after_s
        except Exception as error:
            # Whatever it was, a certificate is renewed by its age then.
            logging.getLogger(__name__).debug("no word about renewal: %r", error)
            return None

    # The account.

    def _open(self, *, is_anew: bool = False) -> ClientV2:
        """Return a client with its account, which is made if there is none."""
        key, uri = self._account_key(), self._known_account()
        if self._acme.ca and not os.access(self._acme.ca, os.R_OK):
            raise _refusal(f"acme.ca: {self._acme.ca} is missing, or can't be read by the user that fronts run as")
        if key is None or not uri or is_anew:
            return self._make_account(is_anew)
        network = self._network = _Network(key, self._acme)
        client = ClientV2(ClientV2.get_directory(self._acme.directory, network), network)
        network.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
        return client

    def _make_account(self, is_anew: bool) -> ClientV2:
        """One of all who start at the same moment makes it, the others find it."""
        lock = Lock(self._storage, f"account-{self._folder_name}")
        patience = time.monotonic() + ACCOUNT_WAIT_S
        while not lock.take():
            if time.monotonic() > patience:
                raise _refusal("another process has been making the account for too long")
            time.sleep(0.2)
        try:
            key = self._account_key() or self._make_account_key()
            network = self._network = _Network(key, self._acme)
            client = ClientV2(ClientV2.get_directory(self._acme.directory, network), network)
            uri = "" if is_anew else self._known_account()
            if not uri:
                uri = self._register(client)
                self._storage.write(
                    f"{self._folder}/account.json",
                    json.dumps({"uri": uri, "directory": self._acme.directory, "email": self._acme.email}).encode(),
                )
            network.account = messages.RegistrationResource(uri=uri, body=messages.Registration())
            return client
        finally:
            lock.release()

    def _account_key(self) -> JWK | None:
        data = self._storage.read(f"{self._folder}/key.pem")
        if data is None:
            return None
        key = serialization.load_pem_private_key(data, password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _refusal(f"{self._folder}/key.pem is no ECDSA key")
        return JWKEC(key=key)

    def _make_account_key(self) -> JWK:
        self._storage.make_folder(self._folder)
        self._storage.write(f"{self._folder}/key.pem", material.make_key("ecdsa-p256"))
        key = self._account_key()
        assert key is not None
        return key

    def _known_account(self) -> str:
        data = self._storage.read(f"{self._folder}/account.json")
        try:
            uri = json.loads(data or b"{}").get("uri", "")
        except (ValueError, AttributeError):
            return ""
        return uri if isinstance(uri, str) else ""

    def _register(self, client: ClientV2) -> str:
        acme = self._acme
        binding = None
        if acme.external_id:
            assert client.net.key is not None
            binding = messages.ExternalAccountBinding.from_data(
                client.net.key.public_key(), acme.external_id, acme.external_key, client.directory
            )
        elif client.external_account_required():
            raise _refusal(f"{acme.directory} asks for an account of its own: give it as acme.external_account")
        try:
            found = client.new_account(
                messages.NewRegistration.from_data(
                    email=acme.email or None, terms_of_service_agreed=True, external_account_binding=binding
                )
            )
        except errors.ConflictError as error:
            return error.location  # made before, and forgotten here
        terms = client.directory.meta.terms_of_service
        agreed = f"; its terms are agreed to: {terms}" if terms else ""
        self._say(f"made an account at {acme.directory}{agreed}")
        return str(found.uri)

    # The order.

    def _obtain(self, names: Collection[str], record: Record, may_go_on: Callable[[], bool]) -> tuple[bytes, str]:
        deadline = datetime.datetime.now() + datetime.timedelta(seconds=ORDER_TIMEOUT_S)
        client = self._open()
        key_pem = material.make_key(self._acme.key)
        hosts, addresses = material.split_names(names)
        csr = crypto_util.make_csr(key_pem, hosts, ipaddrs=addresses or None)
        if not may_go_on():
            raise _refusal("the lock was lost to another process")
        try:
            order = client.new_order(csr, self._acme.profile or None)
        except messages.Error as error:
            if error.code != "accountDoesNotExist":
                raise
            client = self._open(is_anew=True)  # the authority has forgotten it
            order = client.new_order(csr, self._acme.profile or None)
        answers: list[str] = []
        try:
            kind = self._answer(client, order, record, answers)
            order = client.poll_authorizations(order, deadline)
        finally:
            for path in answers:
                self._storage.remove_temporary(path)
        if not may_go_on():
            raise _refusal("the lock was lost to another process")
        order = client.finalize_order(order, deadline)
        bundle, _ = material.prove(key_pem, order.fullchain_pem.encode(), names, time.time())
        return bundle, kind

    def _answer(self, client: ClientV2, order: messages.OrderResource, record: Record, answers: list[str]) -> str:
        """Have all challenges answered that are still to be; return of which kind they were."""
        used = record.challenge
        for authorization in order.authorizations:
            if authorization.body.status == messages.STATUS_VALID:
                continue
            host = str(authorization.body.identifier.value)
            offered = {body.chall.typ: body for body in authorization.body.challenges}
            kind = choose_challenge(self._acme.challenges, offered, record)
            if not kind:
                wanted, there = " or ".join(self._acme.challenges), ", ".join(sorted(offered)) or "nothing"
                raise _refusal(f"{host}: the authority does not offer {wanted}, but {there}")
            body = offered[kind]
            answers.append(self._put(host, body.chall, client))
            assert client.net.key is not None
            client.answer_challenge(body, body.chall.response(client.net.key))
            used = kind
        return used

    def _put(self, host: str, challenge: challenges.KeyAuthorizationChallenge, client: ClientV2) -> str:
        """Put the answer where fronts, of this and other machines, find it; return its path."""
        assert client.net.key is not None
        text = challenge.key_authorization(client.net.key)
        if challenge.typ == challenge_certificate.KIND:
            path = challenge_certificate_path(self._storage.folder, host)
            data = challenge_certificate.make(host, text, datetime.datetime.now(datetime.UTC))
        else:
            token = challenge.encode("token")
            if not TOKEN.fullmatch(token):
                raise _refusal(f"{host}: the authority has sent a token that is none")
            path, data = token_path(self._storage.folder, token), text.encode()
        self._storage.write_temporary(path, data)
        return path


def _problem_words(error: messages.Error) -> str:
    """Return a problem document (RFC 7807) in one line."""
    words = f"{str(error.typ).rpartition(':')[2]}: {error.detail or error.title or 'no detail'}"
    if error.identifier is not None:
        words = f"{error.identifier.value}: {words}"
    return "; ".join([words, *(_problem_words(part) for part in error.subproblems or ())])


def _validation_words(error: errors.ValidationError) -> str:
    words: list[str] = []
    for authorization in error.failed_authzrs:
        host = authorization.body.identifier.value
        words += [
            f"{host}: {body.chall.typ}: {_problem_words(body.error)}"
            for body in authorization.body.challenges
            if body.error is not None
        ]
    return "; ".join(words) or "a challenge was refused"


def _network_words(error: requests.exceptions.RequestException, directory: str) -> str:
    where = str(error.request.url) if error.request is not None and error.request.url else directory
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"{where}: its certificate is not trusted, or TLS fails (acme.ca names who is trusted): {_innermost(error)}"
        )
    if isinstance(error, requests.exceptions.Timeout):
        return f"{where}: no answer within {REQUEST_TIMEOUT_S} s"
    if isinstance(error, requests.exceptions.ConnectionError):
        return f"{where} can't be reached: {_innermost(error)}"
    return f"{where}: {error}"


def _innermost(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return str(error) or type(error).__name__


def _answer_words(error: errors.ClientError) -> str:
    response = error.args[0] if error.args else None
    response = response[0] if isinstance(response, tuple) else response
    if isinstance(response, requests.Response):
        return f"{response.url} answers {response.status_code}"
    return f"the authority has answered what can't be understood: {error!r}"
