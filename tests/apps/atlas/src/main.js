import "@fontsource/inter/latin-400.css"
import "./atlas.css"
import { createApp } from "vue"
import { createRouter, createWebHistory } from "vue-router"
import Atlas from "./Atlas.vue"
import Places from "./views/Places.vue"

const routes = [
  { path: "/", component: Places },
  { path: "/places/:name", component: () => import("./views/Place.vue"), props: true },
  { path: "/map", component: () => import("./views/Map.vue") },
  { path: "/distances", component: () => import("./views/Distances.vue") },
  { path: "/:rest(.*)*", component: () => import("./views/Nowhere.vue") },
]

createApp(Atlas).use(createRouter({ history: createWebHistory(), routes })).mount("#atlas")
