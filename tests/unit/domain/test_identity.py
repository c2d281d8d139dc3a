"""What roles allow, in projects and in the fleet."""

from __future__ import annotations

import pytest

from porter.domain.identity import (
    ALLOWS,
    DEFAULT_PROJECT,
    EVERYWHERE,
    FLEET,
    Grant,
    Permission,
    Principal,
    Role,
    project_of,
    root,
)


def user(*grants: Grant, **more: object) -> Principal:
    return Principal("u1", "user", "ann", grants, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_a_role_counts_in_its_project_only(role: Role, permission: Permission) -> None:
    ann = user(Grant("shop", role))
    assert ann.may(permission, "shop") == (permission in ALLOWS[role])
    assert not ann.may(permission, "bank")
    assert ann.may(permission, FLEET) == (permission is Permission.READ)


@pytest.mark.parametrize("role", Role)
def test_a_role_everywhere_counts_in_all_and_in_the_fleet(role: Role) -> None:
    ann = user(Grant(EVERYWHERE, role))
    for permission in Permission:
        assert ann.may(permission, "shop") == (permission in ALLOWS[role])
        assert ann.may(permission, FLEET) == (permission in ALLOWS[role])


def test_who_has_no_role_sees_nothing() -> None:
    assert not user().may(Permission.READ, FLEET)
    assert user().projects() == frozenset()


def test_a_token_is_confined_to_its_scopes_and_project() -> None:
    token = user(
        Grant(EVERYWHERE, Role.ADMIN),
        scopes=frozenset({Permission.READ, Permission.OPERATE}),
        only="shop",
    )
    assert token.may(Permission.OPERATE, "shop")
    assert not token.may(Permission.ADMIN, "shop")
    assert not token.may(Permission.READ, "bank")
    assert token.may(Permission.READ, FLEET)
    assert not token.may(Permission.OPERATE, FLEET)
    assert token.projects() == frozenset({"shop"})


def test_projects_in_which_something_is_allowed() -> None:
    ann = user(Grant("shop", Role.OPERATOR), Grant("bank", Role.VIEWER))
    assert ann.projects() == {"shop", "bank"}
    assert ann.projects(Permission.OPERATE) == {"shop"}
    assert root("root").projects() is None
    assert user(Grant("shop", Role.ADMIN), only="bank").projects() == frozenset()
    assert user(Grant("shop", Role.ADMIN), scopes=frozenset()).projects() == frozenset()


def test_a_person_answers_for_tokens() -> None:
    assert user(owner="u2").person == "u2"
    assert user().person == "u1"


@pytest.mark.parametrize(
    ("label", "project"),
    [("shop", "shop"), ("", DEFAULT_PROJECT), ("Shop!", DEFAULT_PROJECT), ("*", DEFAULT_PROJECT)],
)
def test_the_project_of_a_label(label: str, project: str) -> None:
    assert project_of(label) == project
